"""Frames taken apart: intact messages, damage of every byte, and what is neither."""

import pytest

from fanlab.ledger.records import TOKEN_LENGTH, Token, encode_token
from fanlab.load.intact import KEPT_BYTES, KEPT_FRAMES, FrameReader
from fanlab.load.payload import Payload
from fanlab.load.protocols import protocol
from fanlab.load.receiving import TokenReader

PLAIN, OBJECTS, SHORT = 0, 1, 2
PAYLOADS = [Payload("ticker", 128, None), Payload("accounts", 160, 5), Payload("bare", TOKEN_LENGTH, None)]
RUN = 9


def reader() -> FrameReader:
    return FrameReader(TokenReader(RUN, len(PAYLOADS)), PAYLOADS)


def token(stream: int, seq: int = 5, run: int = RUN) -> Token:
    return Token(run, stream, seq, 1_000_000_123_456, 7)


def payload(stream: int, seq: int = 5, run: int = RUN) -> bytes:
    head, tail = PAYLOADS[stream].around(seq)
    return head + encode_token(token(stream, seq, run)) + tail


def escaped(text: bytes) -> bytes:
    return b'{"channel":"news","data":"' + text.replace(b'"', b'\\"') + b'","at":1234567}'


@pytest.mark.parametrize("stream", [PLAIN, OBJECTS, SHORT])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda text: text,
        escaped,
        lambda text: b'42["message",' + text + b"]",
        lambda text: b'{"trace":"0123456789abcdef0123456789abcdef","data":' + text + b',"more":"' + b"-" * 99 + b'"}',
    ],
)
def test_an_intact_message_in_any_envelope(stream, wrap):
    frames = reader()
    frame = wrap(payload(stream))
    assert frames.one(frame) == token(stream)
    assert frames.frame == frame
    assert frames.one(bytes(frame)) == token(stream)  # the same again is not read again
    found = frames.read(frame)
    assert (found.messages, found.damaged, found.foreign) == ([(token(stream), True)], [], 0)


def server_frame(text: bytes) -> bytes:
    return bytes((0x81, len(text))) + text if len(text) < 126 else b"\x81\x7e" + len(text).to_bytes(2, "big") + text


def test_only_so_many_frames_are_kept():
    frames = reader()
    for seq in range(1, 3 * KEPT_FRAMES):
        whole = server_frame(payload(SHORT, seq))
        assert frames.whole(whole) == [token(SHORT, seq)]
        assert frames.known[whole] == token(SHORT, seq)
        assert len(frames.known) == min(seq, KEPT_FRAMES)
    assert frames.known[server_frame(payload(SHORT, seq - KEPT_FRAMES + 1))] == token(SHORT, seq - KEPT_FRAMES + 1)


def test_a_read_of_whole_messages_is_known_by_each_of_them_and_taught_once():
    taught = []
    frames = FrameReader(TokenReader(RUN, len(PAYLOADS)), PAYLOADS, teach=lambda *one: taught.append(one))
    one, two, three = (server_frame(text) for text in (payload(PLAIN), payload(OBJECTS), escaped(payload(SHORT))))
    tokens = [token(PLAIN), token(OBJECTS), token(PLAIN), token(SHORT)]
    for _ in range(2):
        assert frames.whole(one + two + one + three) == tokens
    assert taught == [(one, token(PLAIN)), (two, token(OBJECTS)), (three, token(SHORT))]
    assert frames.whole(two) == [token(OBJECTS)]
    assert frames.whole(b"") == []


@pytest.mark.parametrize(
    "other",
    [
        server_frame(b'{"type":"subscribed","channel":"news"}'),
        server_frame(payload(PLAIN, run=RUN + 1)),
        server_frame(payload(PLAIN)[:-1] + b"?"),
        server_frame(payload(PLAIN) * 2),
        server_frame(payload(PLAIN))[:-1],
        b"\x89\x02hb",
        b"\x81",
    ],
)
def test_a_read_with_anything_else_in_it_is_not_whole(other):
    frames = reader()
    known = server_frame(payload(SHORT))
    for read in (other, known + other, other + known):
        assert frames.whole(read) == []
    assert set(frames.known) <= {known}, "and only messages are kept"


@pytest.mark.parametrize("stream", [PLAIN, OBJECTS, SHORT])
@pytest.mark.parametrize("change", [1, 0x20, 0x80])
def test_no_byte_can_change_unseen(stream, change):
    whole = payload(stream)
    place = whole.index(b"fl1")
    for at in range(len(whole)):
        frame = whole[:at] + bytes([whole[at] ^ change]) + whole[at + 1 :]
        frames = reader()
        assert frames.one(frame) is None, at
        found = frames.read(frame)
        if place <= at < place + TOKEN_LENGTH:
            (kept,) = found.damaged
            assert found.messages == []
            assert frame[place : place + TOKEN_LENGTH] in kept
        else:
            assert found.messages == [(token(stream), False)]
            assert found.damaged == []


@pytest.mark.parametrize("stream", [PLAIN, OBJECTS])
def test_in_an_envelope_the_filler_is_seen_to(stream):
    whole = escaped(payload(stream))
    at = whole.index(b"mnop")
    found = reader().read(whole[:at] + b"?" + whole[at + 1 :])
    assert found.messages == [(token(stream), False)]


@pytest.mark.parametrize("size", [TOKEN_LENGTH + 1, TOKEN_LENGTH + 30, 127])
def test_a_payload_cut_short_is_damaged(size):
    assert reader().read(payload(PLAIN)[:size]).messages == [(token(PLAIN), False)]


def test_a_message_taken_apart_shows_its_token_and_no_more():
    for frame in (payload(PLAIN)[:TOKEN_LENGTH], b'{"id":"' + payload(PLAIN)[:TOKEN_LENGTH] + b'"}'):
        assert reader().one(frame) == token(PLAIN)


@pytest.mark.parametrize("size", [20, 40, 46])
def test_a_token_cut_short_is_damaged(size):
    assert reader().read(payload(PLAIN)[:size]).damaged == [payload(PLAIN)[:size]]


def test_several_messages_in_a_frame():
    broken = payload(PLAIN, 6)
    broken = b"f11" + broken[3:]
    frame = payload(PLAIN, 5) + b"," + broken + b"," + payload(SHORT, 7)
    found = reader().read(frame)
    assert found.messages == [(token(PLAIN, 5), True), (token(SHORT, 7), True)]
    frames = reader()
    frame = payload(PLAIN, 5) + b"," + broken
    assert frames.one(frame) is None
    found = frames.read(frame)
    assert [one for one, _ in found.messages] == [token(PLAIN, 5)]
    assert broken[:TOKEN_LENGTH] in found.damaged[0]


def test_what_follows_a_token_gives_a_message_away():
    whole = payload(PLAIN)
    frame = b"?" * 30 + whole[30:]
    assert reader().read(frame).damaged == [frame[:KEPT_BYTES]]
    frame = b"?" * (TOKEN_LENGTH + 15) + whole[TOKEN_LENGTH + 15 :]
    assert reader().read(frame).damaged == [frame[:KEPT_BYTES]]


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"hello",
        b'{"type":"subscribed","channel":"fl1-news"}',
        b'{"type":"welcome","session":"0123456789abcdef0123456789abcdef"}',
        b"a flight fl1ght in the deadbeef cafe" * 3,
        b"The quick brown fox jumps over the lazy dog. " * 5,
        b"...fl1",
    ],
)
def test_what_is_no_message_is_none(frame):
    frames = reader()
    assert frames.one(frame) is None
    found = frames.read(frame)
    assert (found.messages, found.damaged, found.foreign) == ([], [], 0)


def test_another_runs_message_is_foreign_and_not_damaged():
    found = reader().read(payload(PLAIN, run=10))
    assert (found.messages, found.damaged, found.foreign) == ([], [], 1)


def test_a_token_of_a_stream_that_is_none_is_damaged():
    frame = encode_token(token(3))
    assert reader().read(frame).damaged == [frame]


def test_kept_bytes_are_bounded():
    frame = b"x" + payload(PLAIN)[1:] + b"y" * 1000
    assert [len(kept) for kept in reader().read(frame).damaged] == [KEPT_BYTES]


def test_a_nodes_own_frames():
    json = protocol("json")
    assert json.answers(b'{"type":"error","reason":"fl10123456789"}')
    for frame in (b'{"id":"a"}', b'{"type":1}', b"[1]", b"{", b"\xff", payload(OBJECTS), b"[" * 100_000):
        assert not json.answers(frame)
