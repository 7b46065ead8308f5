"""Damaged tokens against the slow and certain way: every byte, every value."""

from random import Random

import numpy as np
import pytest

from fanlab.ledger.damage import KEPT_BYTES, damage_row, damage_table, single_changes, unique_pairs
from fanlab.ledger.records import NO_NODE, TOKEN_LENGTH, Token, decode_token, encode_token

TOKENS = [
    Token(0xBEEF, 0, 1, 1_000_000_000_000, 0),
    Token(0xC02A, 0xF513, 0xA012_3456, 0x1234_5678_9ABC_DEF0, 0xFFFF_FFFF),
    Token(0, 0, 0, 0, 0),
]
HEX = b"0123456789abcdef"


def table(*texts: bytes):
    rows = np.array([list(text.ljust(KEPT_BYTES, b"#")) for text in texts], np.uint8).reshape(-1, KEPT_BYTES)
    return rows, np.array([len(text) for text in texts])


def found(*texts: bytes) -> set[tuple[int, int, int, int, int]]:
    candidates = single_changes(*table(*texts))
    return set(candidates[["row", "run", "stream", "seq", "intended_ns"]].tolist())


def by_trial(text: bytes) -> set[tuple[int, int, int, int]]:
    """All tokens one byte away, by trying. Only a token's own bytes can make one."""
    tokens = set()
    for at in range(TOKEN_LENGTH):
        for byte in set(HEX + b"fl1") - {text[at]}:
            changed = text[:at] + bytes([byte]) + text[at + 1 :]
            token = decode_token(changed) if changed.startswith(b"fl1") else None
            if token is not None:
                tokens.add(token[:4])
    return tokens


@pytest.mark.parametrize("token", TOKENS)
def test_every_single_byte_of_every_value_is_undone(token):
    text = encode_token(token)
    damaged = [text[:at] + bytes([byte]) + text[at + 1 :] for at in range(TOKEN_LENGTH) for byte in range(256)]
    damaged = [one for one in damaged if one != text]
    tokens = found(*damaged)
    assert {row for row, *fields in tokens if tuple(fields) == token[:4]} == set(range(len(damaged)))


def test_the_candidates_are_all_there_are():
    random = Random(1)  # noqa: S311 - a seeded choice
    texts = []
    for _ in range(150):
        text = bytearray(encode_token(random.choice(TOKENS)))
        for _ in range(random.choice((1, 1, 2, 3))):
            text[random.randrange(TOKEN_LENGTH)] = random.choice(HEX + b"xAF")
        texts.append(bytes(text))
    assert found(*texts) == {(row, *token) for row, text in enumerate(texts) for token in by_trial(text)}


@pytest.mark.parametrize("before", [0, 1, 5, KEPT_BYTES - TOKEN_LENGTH])
def test_the_token_may_stand_anywhere(before):
    token = TOKENS[0]
    text = b"a" * before + encode_token(token)
    damaged = text[: before + 2] + b"?" + text[before + 3 :]
    assert (0, *token[:4]) in found(damaged)


@pytest.mark.parametrize("size", [0, 1, TOKEN_LENGTH - 1])
def test_a_token_cut_short_is_nothing(size):
    assert found(encode_token(TOKENS[0])[:size]) == set()


def test_two_damaged_bytes_are_not_undone():
    text = encode_token(TOKENS[0])
    assert TOKENS[0][:4] not in {tuple(fields) for _, *fields in found(b"x" + text[1:20] + b"x" + text[21:])}


def test_more_tokens_than_a_block():
    token = TOKENS[0]
    text = b"F" + encode_token(token)[1:]
    assert found(*[text] * 5000) == {(row, *token[:4]) for row in range(5000)}


def test_rows_of_events():
    text = encode_token(TOKENS[0])
    rows = [
        damage_row({"t": 5, "client": 3, "node": 1, "bytes": text.hex()}),
        damage_row({"t": 6, "client": 4, "stream": 2, "seq": 9}),
        damage_row({"t": 7, "client": 4, "bytes": ""}),  # nothing was kept, which is no good token
    ]
    assert [row[2] for row in rows] == [0, 0, 0]  # the stripe is still to be told
    made = damage_table(rows, 7)
    assert made[["t", "client", "stripe", "node", "stream", "seq", "good", "size"]].tolist() == [
        (5, 3, 7, 1, 0, 0, False, TOKEN_LENGTH),
        (6, 4, 7, NO_NODE, 2, 9, True, 0),
        (7, 4, 7, NO_NODE, 0, 0, False, 0),
    ]
    assert made["bytes"][0].tobytes()[:TOKEN_LENGTH] == text
    for wrong in ({}, {"t": 1, "client": 1}, {"t": 1, "client": 1, "bytes": "xy"}):
        with pytest.raises((KeyError, ValueError)):
            damage_row(wrong)


@pytest.mark.parametrize("rest", [b"0", b"f", b" ", b'"}', b"\xff" * 100])
def test_what_follows_a_token_is_no_part_of_it(rest):
    assert decode_token(encode_token(TOKENS[1]) + rest) == TOKENS[1]


def test_a_digit_in_another_case_is_damage():
    text = encode_token(Token(0xABCD, 0xABCD, 0xABCDEFAB, 1, 0))
    places = [at for at in range(3, TOKEN_LENGTH) if chr(text[at]).isalpha()]
    assert places
    for at in places:
        assert decode_token(text[:at] + text[at : at + 1].upper() + text[at + 1 :]) is None
    assert decode_token(text[:43] + b"+" + text[44:]) is None


def test_of_pairs_of_numbers_the_first_of_each_is_fresh():
    rows = [(1, 1), (2, 1), (1, 2), (1, 1), (2, 2), (2, 1), (3, 1), (2, 2), (1, 2), (3, 3), (3, 1), (2, 1)]
    first, second = np.array(rows).T
    assert unique_pairs(first, second).tolist() == [row not in rows[:at] for at, row in enumerate(rows)]
    assert unique_pairs(first[:0], second[:0]).tolist() == []
