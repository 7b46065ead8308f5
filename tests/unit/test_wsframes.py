"""A probe's WebSocket, without sockets, against the websockets library."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame as Reference
from websockets.frames import Opcode as ReferenceOpcode
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.streams import StreamReader

from fanlab.load.wsframes import Frame, FrameReader, Handshake, NotWebSocketError, Opcode, client_frame, message_at


def server_frame(payload: bytes, opcode: ReferenceOpcode = ReferenceOpcode.TEXT, *, fin: bool = True) -> bytes:
    return bytes(Reference(opcode, payload, fin=fin).serialize(mask=False))


def test_a_real_server_takes_the_handshake_and_its_answer_is_taken() -> None:
    handshake = Handshake("ws://127.0.0.1:8080/ws?x=1")
    assert (handshake.host, handshake.port) == ("127.0.0.1", 8080)
    server = ServerProtocol()
    server.receive_data(handshake.request)
    (request,) = server.events_received()
    assert isinstance(request, Request)
    assert request.path == "/ws?x=1"
    assert "Fanlab-Client" not in request.headers
    server.send_response(server.accept(request))
    answer = b"".join(server.data_to_send())
    assert answer.startswith(b"HTTP/1.1 101")
    assert handshake.accepted(answer[:40]) is None
    assert handshake.accepted(answer + b"rest") == b"rest"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 503 Service Unavailable\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: no\r\n\r\n",
        b"\r\n\r\n",
    ],
)
def test_other_answers_are_refusals(answer: bytes) -> None:
    with pytest.raises(NotWebSocketError):
        Handshake("ws://h/").accepted(answer)


@pytest.mark.parametrize("url", ["wss://h/ws", "http://h/", "ws:///ws"])
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="no ws://"):
        Handshake(url)


@given(st.binary(max_size=300) | st.integers(65_530, 65_540).map(bytes))
def test_a_real_server_reads_our_frames(payload: bytes) -> None:
    reader = StreamReader()
    reader.feed_data(client_frame(Opcode.BINARY, payload))
    parsing = Reference.parse(reader.read_exact, mask=True)
    with pytest.raises(StopIteration) as done:
        next(parsing)
    assert bytes(done.value.value.data) == payload
    assert done.value.value.opcode == ReferenceOpcode.BINARY


@given(
    payloads=st.lists(st.binary(max_size=200), max_size=5),
    cuts=st.lists(st.integers(1, 500), min_size=1, max_size=20),
)
def test_frames_are_found_however_they_come(payloads: list[bytes], cuts: list[int]) -> None:
    data = b"".join(map(server_frame, payloads))
    data += server_frame(bytes(65_540))
    payloads = [*payloads, bytes(65_540)]
    reader, found, at, turn = FrameReader(), [], 0, 0
    while at < len(data):
        size = cuts[turn % len(cuts)]
        found += [frame.payload for frame in reader.feed(data[at : at + size])]
        at, turn = at + size, turn + 1
    assert found == payloads
    assert not reader.waiting


@given(st.lists(st.sampled_from([48, 130, 70_000]), min_size=1, max_size=12))
def test_reading_what_is_wanted_never_reads_into_a_later_frame_of_the_same_size(sizes: list[int]) -> None:
    data = b"".join(server_frame(bytes(size)) for size in sizes)
    ends, at = set(), 0
    for size in sizes:
        at += len(server_frame(bytes(size)))
        ends.add(at)
    reader, at, reads = FrameReader(), 0, 0
    while at < len(data):
        wanted = reader.wanted
        assert wanted > 0
        found = list(reader.feed(data[at : at + wanted]))
        at, reads = min(at + wanted, len(data)), reads + 1
        if len(set(sizes)) == 1 and found:
            assert at in ends
            assert len(found) == 1
    assert not reader.waiting
    if len(set(sizes)) == 1:
        assert reads <= len(sizes) + 3


def test_parts_are_joined_and_control_frames_come_between_them() -> None:
    data = (
        server_frame(b"one", fin=False)
        + server_frame(b"hb", ReferenceOpcode.PING)
        + server_frame(b"two", ReferenceOpcode.CONT)
    )
    assert list(FrameReader().feed(data)) == [Frame(Opcode.PING, b"hb"), Frame(Opcode.TEXT, b"onetwo")]


def test_frames_that_no_server_sends_are_errors() -> None:
    with pytest.raises(NotWebSocketError, match="masked"):
        list(FrameReader().feed(client_frame(Opcode.TEXT, b"x")))
    with pytest.raises(NotWebSocketError, match="bytes"):
        list(FrameReader().feed(b"\x81\x7f" + (1 << 40).to_bytes(8, "big")))


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
@pytest.mark.parametrize("before", [b"", b"\x81\x7e"])
def test_a_whole_message_in_a_frame_of_its_own_is_found_and_nothing_else(size: int, before: bytes) -> None:
    payload, at = b"x" * size, len(before)
    for opcode in (ReferenceOpcode.TEXT, ReferenceOpcode.BINARY):
        whole = before + server_frame(payload, opcode)
        for read in (whole, whole + b"\x81", whole + b"\x00" * 20):
            place = message_at(read, at)
            assert place is not None
            assert (read[place[0] : place[1]], place[1]) == (payload, len(whole))
    for cut in range(1, min(12, len(whole) - at + 1)):
        assert message_at(whole[:-cut], at) is None, "not complete"
        assert message_at(whole[: at + cut], at) is None or cut == len(whole) - at, "nor is its head"
    for frame in (
        server_frame(payload, fin=False),  # a fragment
        server_frame(payload, ReferenceOpcode.CONT),  # the last one
        bytes((whole[at] | 0x40,)) + whole[at + 1 :],  # an extension's
        whole[at : at + 1] + bytes((whole[at + 1] | 0x80,)) + whole[at + 2 :] + b"0000",  # masked
    ):
        assert message_at(before + frame, at) is None


def test_no_bytes_are_no_message() -> None:
    assert message_at(b"", 0) is None
    assert message_at(server_frame(b"x"), 3) is None
