"""The pure parts of the lying proxy: what it cuts streams into, which messages it chooses, what it makes of them."""

import importlib
import sys
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from fanlab.ledger.records import Token, decode_token, encode_token

FOLDER = Path(__file__).resolve().parents[2] / "nodes" / "saboteurs" / "lying-proxy"


def _load() -> SimpleNamespace:
    sys.path.insert(0, str(FOLDER))
    try:
        return SimpleNamespace(**{name: importlib.import_module(name) for name in ("units", "lies")})
    finally:
        sys.path.remove(str(FOLDER))
        for name in ("units", "lies"):
            sys.modules.pop(name, None)


PROXY = _load()


def frame(payload: bytes, opcode: Opcode = Opcode.TEXT) -> bytes:
    return bytes(Frame(opcode, payload).serialize(mask=False))


def message(seq: int, stream: int = 0, filler: bytes = b"") -> bytes:
    return encode_token(Token(1, stream, seq, 5, 0)) + filler


def pushed(payload: bytes, channel: bytes = b"news") -> bytes:
    return b"*3\r\n$7\r\nmessage\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(channel), channel, len(payload), payload)


def feed(cutter: Any, data: bytes, cuts: list[int]) -> list[Any]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [unit for start, end in pairwise(edges) for unit in cutter.feed(data[start:end])]


@given(
    st.lists(
        st.tuples(st.sampled_from([Opcode.TEXT, Opcode.BINARY, Opcode.PONG]), st.binary(max_size=200)), max_size=8
    ),
    st.lists(st.integers(0, 10_000), max_size=12),
    st.sampled_from([0, 126, 65_536]),
)
def test_frames_are_cut_where_they_end(parts, cuts, large):
    frames = [frame(payload, opcode) for opcode, payload in parts if opcode is not Opcode.PONG or len(payload) < 126]
    frames += [frame(b"x" * large), frame(b"\x03\xe8", Opcode.CLOSE)]
    cutter = PROXY.units.Frames()
    units = feed(cutter, b"".join(frames), cuts)
    assert [unit.data for unit in units] == frames
    assert units[-2].data[units[-2].start : units[-2].end] == b"x" * large
    assert [unit.last for unit in units] == [False] * (len(frames) - 1) + [True]
    assert cutter.rest == b""


PAYLOADS = (b"*3\r\n$7\r\nmessage\r\n", message(1))


@given(
    st.lists(
        st.sampled_from([
            b"+OK\r\n",
            b"$-1\r\n",
            b"*-1\r\n",
            b"*0\r\n",
            b":7\r\n",
            b"-ERR x\r\n",
            b"*2\r\n$4\r\npong\r\n$0\r\n\r\n",
            b"*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n",
            b"*2\r\n*1\r\n:1\r\n$2\r\n\r\n\r\n",
            *map(pushed, PAYLOADS),
        ]),
        max_size=8,
    ),
    st.lists(st.integers(0, 10_000), max_size=12),
)  # fmt: skip
def test_replies_are_cut_where_they_end(replies, cuts):
    cutter = PROXY.units.Replies()
    units = feed(cutter, b"".join(replies), cuts)
    assert [unit.data for unit in units] == replies
    held = {pushed(payload): payload for payload in PAYLOADS}
    assert [unit.data[unit.start : unit.end] for unit in units] == [held.get(reply, b"") for reply in replies]
    assert cutter.rest == b""


def orders(**env: object) -> Any:
    return PROXY.lies.orders_of({name: str(value) for name, value in env.items()}, "node-1")


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"LIE": "steal"}, "LIE='steal' is no lie"),
        ({"LIE_SIDE": "north"}, "LIE_SIDE='north' is no side"),
        ({"LIE_COUNT": "-1"}, "LIE_COUNT='-1' is no whole number"),
    ],
)
def test_a_bad_order_is_refused(env, said):
    with pytest.raises(PROXY.lies.OrderError, match=said):
        orders(**env)


def run(mode: str, sent: list[list[bytes]], *, seed: int = 1, count: int = 7, after: int = 5, span: int = 20) -> Any:
    """Messages of each connection, one by one in turn; what came out of each, and the deeds told."""
    told: list[tuple[str, int, bytes]] = []
    choice = PROXY.lies.Choice(orders(LIE=mode, LIE_COUNT=count, LIE_SEED=seed, LIE_AFTER=after, LIE_SPAN=span))
    liars = [PROXY.lies.Liar(choice, k, lambda *deed: told.append(deed)) for k in range(len(sent))]
    cutters = [PROXY.units.Frames() for _ in sent]
    out = [b"" for _ in sent]
    for step in range(max(map(len, sent))):
        for k, payloads in enumerate(sent):
            if step < len(payloads):
                for unit in cutters[k].feed(frame(payloads[step])):
                    out[k] += liars[k].passes(unit)
    got = []
    for k, data in enumerate(out):
        units = PROXY.units.Frames().feed(data + liars[k].let_go())
        got.append([unit.data[unit.start : unit.end] for unit in units])
    return got, told


SENT = [[message(seq, stream) for seq in range(1, 40) for stream in range(2)] for _ in range(3)]


def expected(payloads: list[bytes], told: list[tuple[str, int, bytes]], connection: int) -> dict[str, list[bytes]]:
    """What each kind of lie makes of these, if told truly."""
    marks = [mark for _, conn, mark in told if conn == connection]
    chosen = [payload for payload in payloads if payload[:19] in marks]
    reordered = list(payloads)
    for payload in chosen:
        at = reordered.index(payload)
        then = next(k for k in range(at + 1, len(reordered)) if reordered[k][7:11] == payload[7:11])
        reordered[at : then + 1] = [*reordered[at + 1 : then + 1], payload]
    return {
        "lose": [payload for payload in payloads if payload not in chosen],
        "duplicate": [payload for payload in payloads for _ in range(2 if payload in chosen else 1)],
        "reorder": reordered,
    }


@pytest.mark.parametrize("mode", ["lose", "duplicate", "reorder", "corrupt"])
@pytest.mark.parametrize("count", [1, 7, 60])
@pytest.mark.parametrize("seed", [1, 2])
def test_exactly_as_many_as_ordered_and_as_told(mode, count, seed):
    got, told = run(mode, SENT, seed=seed, count=count)
    assert len(told) == len(set(told)) == count
    assert {deed for deed, _, _ in told} == {mode}
    assert all(5 <= int(mark[11:19], 16) < 25 for _, _, mark in told)
    for k, payloads in enumerate(SENT):
        if mode == "corrupt":
            differing = [old[:19] for old, new in zip(payloads, got[k], strict=True) if old != new]
            assert sorted(differing) == sorted(mark for _, conn, mark in told if conn == k)
        else:
            assert got[k] == expected(payloads, told, k)[mode]
    if count == 60:
        assert {(conn, mark[7:11]) for _, conn, mark in told} == {(k, b"%04x" % s) for k in range(3) for s in range(2)}


def test_the_seed_decides():
    first, second, other = (sorted(run("lose", SENT, seed=seed)[1]) for seed in (1, 1, 2))
    assert first == second != other


def test_none_ordered_none_done():
    assert run("lose", SENT, count=0) == (SENT, [])


def test_an_order_that_cannot_be_carried_out_is_said():
    with pytest.raises(PROXY.lies.OrderError, match="LIE_COUNT=121, and only 6 connections and streams × 20 messages"):
        run("lose", SENT, count=121)
    with pytest.raises(PROXY.lies.OrderError, match="× 10 messages"):
        run("reorder", SENT, count=61)


def test_what_is_held_goes_out_at_the_end_and_is_no_deed():
    got, told = run("reorder", [[message(1), message(2)]], count=1, after=2, span=1)
    assert got == [[message(1), message(2)]]
    assert told == []


def test_a_close_frame_lets_go_first():
    choice = PROXY.lies.Choice(orders(LIE="reorder", LIE_COUNT=1, LIE_AFTER=1, LIE_SPAN=1))
    liar = PROXY.lies.Liar(choice, 0, lambda *deed: pytest.fail(str(deed)))
    held, close = frame(message(1)), frame(b"\x03\xe8", Opcode.CLOSE)
    units = PROXY.units.Frames().feed(held + close)
    assert [liar.passes(unit) for unit in units] == [b"", held + close]


@given(st.integers(0, 2**32), st.floats(0, 1, exclude_max=True), st.text(max_size=20))
def test_a_corrupted_byte_is_another_one_and_the_text_stays_text(seq, where, filler):
    payload = message(seq % 2**32, filler=filler.encode())
    (unit,) = PROXY.units.Frames().feed(frame(payload))
    (after,) = PROXY.units.Frames().feed(PROXY.lies.corrupted(unit, where))
    changed = after.data[after.start : after.end]
    changed.decode()
    (at,) = [k for k in range(len(payload)) if payload[k] != changed[k]]
    assert changed[at : at + 1].lower() != payload[at : at + 1].lower()
    if at < 47:
        assert not changed.startswith(b"fl1") or decode_token(changed) is None


def test_corruption_reaches_every_part_of_a_payload():
    (unit,) = PROXY.units.Frames().feed(frame(message(1, filler=b"abcdefgh")))
    made = (PROXY.lies.corrupted(unit, step / 2000) for step in range(2000))
    places = {k for after in made for k in range(len(after)) if after[k] != unit.data[k]}
    assert len(places) >= 50
