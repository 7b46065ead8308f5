"""The witness without its socket: what it subscribes to, when it is up, and up to when it has everything."""

import numpy as np
import pytest

from fanlab.ledger.records import WITNESS_DTYPE, Token, encode_token
from fanlab.load.hearing import PINGS_UNANSWERED, Hearing, literal_pattern
from fanlab.load.resp import ErrorReply, ReplyReader

RUN, STREAMS = 7, 2


def token(seq: int, stream: int = 0, run: int = RUN) -> bytes:
    return encode_token(Token(run, stream, seq, 1000 + seq, 5))


def message(payload: bytes, channel: bytes = b"news") -> list[bytes]:
    return [b"pmessage", channel, channel, payload]


def opened(*channels: str) -> Hearing:
    hearing = Hearing(channels or ("news",), RUN, STREAMS)
    hearing.opened(1)
    hearing.take(b"OK", 1)
    for number, channel in enumerate(channels or ("news",)):
        hearing.take([b"psubscribe", channel.encode(), number + 1], 10 + number)
    return hearing


def records(hearing: Hearing) -> list[tuple[int, int, int, int]]:
    found = np.frombuffer(bytes(hearing.records), WITNESS_DTYPE)
    return [tuple(int(row[name]) for name in ("recv_ns", "stream", "seq", "intended_ns")) for row in found]  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("news", b"news"),
        ("user:updated", b"user:updated"),
        ("a*b?[c]\\d", b"a\\*b\\?\\[c\\]\\\\d"),
        ("é", "é".encode()),
    ],
)
def test_patterns_match_literally(name: str, pattern: bytes) -> None:
    assert literal_pattern(name) == pattern


def test_it_asks_for_every_channel_and_is_up_with_the_last() -> None:
    hearing = Hearing(["news", "jobs*"], RUN, STREAMS)
    command = hearing.opened(2)
    assert ReplyReader().feed(command) == [[b"PSUBSCRIBE", b"news", b"jobs\\*"]]
    for reply in (b"OK", b"OK", [b"psubscribe", b"news", 1]):
        hearing.take(reply, 10)
        assert not hearing.up
    hearing.take([b"psubscribe", b"jobs\\*", 2], 20)
    assert hearing.up
    assert hearing.events == [{"t": 20, "ev": "witness", "state": "up"}]
    assert hearing.good_ns == 20


def test_copies_are_records_in_the_order_in_which_they_came() -> None:
    hearing = opened()
    for seq in (2, 1, 1):
        hearing.take(message(b"before " + token(seq) + b" after"), 100 + seq)
    hearing.take(message(token(9, stream=1)), 200)
    assert records(hearing) == [(102, 0, 2, 1002), (101, 0, 1, 1001), (101, 0, 1, 1001), (200, 1, 9, 1009)]
    assert hearing.copies == 4


def test_what_is_not_of_this_run_is_counted_and_not_recorded() -> None:
    hearing = opened()
    hearing.take(message(token(1, run=8)), 100)
    hearing.take(message(token(1, stream=STREAMS)), 100)
    hearing.take(message(token(1)[:-1] + b"!"), 100)
    hearing.take(message(b"no token"), 100)
    assert (hearing.copies, hearing.foreign, hearing.damaged) == (0, 1, 3)
    hearing.take(message(b"fl1 is no token, " + token(5)), 100)
    assert records(hearing) == [(100, 0, 5, 1005)]


def test_a_pong_says_up_to_when_everything_has_come() -> None:
    hearing = opened()
    assert ReplyReader().feed(hearing.ping(50) + hearing.ping(60)) == [[b"PING"], [b"PING"]]
    assert hearing.good_ns == 10
    hearing.take([b"pong", b""], 70)
    assert (hearing.good_ns, hearing.pings) == (50, 1)
    hearing.broke(90, "gone")
    assert hearing.events[-1] == {"t": 90, "ev": "witness", "state": "down", "good": 50, "error": "gone"}
    assert hearing.cut == 1
    assert hearing.ping(95) == b""  # nobody would answer


def test_a_redis_that_lags_is_not_asked_without_end() -> None:
    hearing = opened()
    assert all(hearing.ping(at) for at in range(PINGS_UNANSWERED))
    assert hearing.ping(PINGS_UNANSWERED) == b""


def test_it_comes_back() -> None:
    hearing = opened("news", "jobs")
    hearing.ping(30)
    hearing.broke(40, "gone")
    hearing.opened(1)
    hearing.take(b"OK", 50)
    hearing.take([b"psubscribe", b"news", 1], 51)
    hearing.take([b"psubscribe", b"jobs", 2], 52)
    assert [(event["t"], event["state"]) for event in hearing.events] == [(11, "up"), (40, "down"), (52, "up")]
    assert hearing.good_ns == 52
    assert hearing.pings == 0


def test_a_connection_lost_before_it_was_up_is_no_cut() -> None:
    hearing = Hearing(["news"], RUN, STREAMS)
    hearing.opened(1)
    hearing.broke(5, "gone")
    assert (hearing.events, hearing.cut) == ([], 0)


def test_a_refusal_is_kept_until_the_next_attempt() -> None:
    hearing = Hearing(["news"], RUN, STREAMS)
    hearing.opened(1)
    hearing.take(ErrorReply("NOAUTH Authentication required."), 5)
    assert hearing.refusal == "NOAUTH Authentication required."
    hearing.opened(1)
    assert hearing.refusal is None


def test_the_end() -> None:
    hearing = opened()
    hearing.take(message(token(1)), 20)
    assert hearing.ended(30) == {"copies": 1, "foreign": 0, "damaged": 0, "cut": 0}
    assert hearing.events[-1]["state"] == "down"
    assert not hearing.up
