"""Payloads: of the size asked for, with the token in its place, and JSON where objects are asked for."""

import json

import pytest

from fanlab.ledger.records import TOKEN_LENGTH, Token, encode_token
from fanlab.load.payload import Payload, filler
from fanlab.scenario.cachechecks import OBJECT_BYTES
from fanlab.scenario.findings import MIN_PAYLOAD_BYTES

TOKEN = encode_token(Token(1, 2, 3, 4, 5))


def whole(payload: Payload, seq: int) -> bytes:
    head, tail = payload.around(seq)
    return head + TOKEN + tail


@pytest.mark.parametrize("size", [TOKEN_LENGTH, 128, 4096])
def test_a_plain_payload_begins_with_its_token_and_has_its_size(size: int) -> None:
    made = whole(Payload("ticker", size, None), 7)
    assert (len(made), made[:TOKEN_LENGTH]) == (size, TOKEN)
    assert made == whole(Payload("ticker", size, None), 8)


def test_the_least_object_that_a_scenario_may_have_has_its_size() -> None:
    assert len(whole(Payload("p", OBJECT_BYTES + MIN_PAYLOAD_BYTES + len("p-0"), 1), 1)) == 79


@pytest.mark.parametrize("size", [100, 128, 4096])
def test_an_object_is_json_of_the_size_asked_for(size: int) -> None:
    made = whole(Payload("accounts-2", size, 12), 12)
    assert len(made) == size
    value = json.loads(made)
    assert list(value) == ["id", "token", "pad"]
    assert (value["id"], value["token"]) == ("accounts-2-11", TOKEN.decode())


def test_the_objects_come_in_turn() -> None:
    payload = Payload("p", 128, 3)
    assert [json.loads(whole(payload, seq))["id"] for seq in range(1, 6)] == ["p-0", "p-1", "p-2", "p-0", "p-1"]


def test_no_token_can_begin_in_filler() -> None:
    assert b"f" not in filler(1000)
    assert b"l" not in filler(1000)
    assert (len(filler(1000)), filler(0), filler(-3)) == (1000, b"", b"")
