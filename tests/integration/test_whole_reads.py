"""A read that came just like that before is not taken apart again; what is journaled is the same as if it were."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from fanlab.ledger.records import DELIVERY_DTYPE, TOKEN_LENGTH, Token, encode_token
from fanlab.ledger.stripe import Kind, StripeReader, StripeWriter, json_lines
from fanlab.load import bulk
from fanlab.load.clientlink import Link
from fanlab.load.clients import ClientsEngine
from fanlab.load.payload import filler
from fanlab.load.stamped import StampedLoop
from support.raw_server import CONFIRMATION, PAYLOAD_BYTES, RUN_TAG, accepted, config_for, frame, until

pytestmark = pytest.mark.skipif("sys.platform != 'linux'", reason="other kernels stamp otherwise")

PING, CONTINUATION = 0x9, 0x0
CLIENTS = 4
RECORD_BYTES = DELIVERY_DTYPE.itemsize


def message(seq: int) -> bytes:
    return encode_token(Token(RUN_TAG, 0, seq, 1_000_000 + seq, 5)) + filler(PAYLOAD_BYTES - TOKEN_LENGTH)


def journaled(path: Path) -> tuple[Any, list[dict[str, Any]]]:
    """Deliveries, as one array, and events."""
    frames = list(StripeReader(path))
    records = np.concatenate([np.frombuffer(f.payload, DELIVERY_DTYPE) for f in frames if f.kind is Kind.DELIVERIES])
    return records, [event for f in frames if f.kind is Kind.EVENTS for event in json_lines(f)]


@pytest.fixture(params=["compiled", "python"])
def receiver(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Who takes what is known whole."""
    if request.param == "python":
        monkeypatch.setenv(bulk.VARIABLE, "python")
    elif (found := bulk.find())[0] is None:
        pytest.skip(f"{found[1]}; then `make test` again")
    return str(request.param)


def test_the_journal_is_the_same_however_the_bytes_come(
    tmp_path: Path, receiver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alone, several in a read, cut anywhere, in fragments with a ping between, damaged, in an envelope: seeded."""
    taken = by_python = 0
    whole = Link._whole

    def counted(link: Link, read: bytes, recv_ns: int) -> int:
        nonlocal by_python
        done = whole(link, read, recv_ns)
        by_python += done
        return done

    monkeypatch.setattr(Link, "_whole", counted)
    expected: list[list[int]] = [[] for _ in range(CLIENTS)]
    damaged: list[list[int]] = [[] for _ in range(CLIENTS)]

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener, StripeWriter(tmp_path / "s", {}) as stripe:
            engine = ClientsEngine(
                config_for(listener.getsockname()[1], tmp_path, clients=CLIENTS, probes=0), stripe, loop
            )
            socks = []
            for client in range(CLIENTS):
                serving = asyncio.create_task(asyncio.to_thread(accepted, listener))
                engine.command({"op": "connect", "client": client})
                socks.append(await serving)
            for sock in socks:
                sock.sendall(frame(CONFIRMATION))
            await until(lambda: engine.counts()["connected"] == CLIENTS)
            random = Random(3)  # noqa: S311 - a seeded choice
            for seq in range(1, 400):
                for client, sock in enumerate(socks):
                    for piece in shapes(random, seq, expected[client], damaged[client]):
                        sock.sendall(piece)
                        for _ in range(random.randrange(4)):  # else it is read together with the next
                            await asyncio.sleep(0)
            count = sum(map(len, expected))
            await until(lambda: engine.buffer.count + engine.buffer.used // RECORD_BYTES >= count)
            nonlocal taken
            taken = sum(link._stamped.taken for link in engine._links.values() if link._stamped is not None)
            for sock in socks:
                sock.close()
            await engine.finish()

    with asyncio.Runner(loop_factory=StampedLoop) as runner:
        runner.run(asyncio.wait_for(main(), 60))
    records, events = journaled(tmp_path / "s")
    for client in range(CLIENTS):
        own = records[records["client"] == client]
        assert own["seq"].tolist() == expected[client]
        assert (own["intended_ns"] == 1_000_000 + own["seq"].astype(np.uint64)).all()
        assert (np.diff(own["recv_ns"].astype(np.int64)) > 0).all(), "each later than the one before"
    told = [
        [one["seq"] for one in events if one["ev"] == "damaged" and one["client"] == client]
        for client in range(CLIENTS)
    ]
    assert told == damaged
    assert taken > 100, "what another client had got alone before"
    assert by_python == taken if receiver == "python" else 0 < by_python < taken, "compiled code is taught each once"


@pytest.mark.usefixtures("receiver")
def test_a_known_one_among_the_fragments_of_another_is_what_the_parser_makes_of_it(tmp_path: Path) -> None:
    """No server may do that. A client that took it for whole would not see it."""

    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener, StripeWriter(tmp_path / "s", {}) as stripe:
            engine = ClientsEngine(
                config_for(listener.getsockname()[1], tmp_path, probes=0), stripe, asyncio.get_running_loop()
            )
            engine.command({"op": "connect", "client": 0})
            sock = await asyncio.to_thread(accepted, listener)
            sock.sendall(frame(CONFIRMATION))
            await until(lambda: engine.counts()["connected"] == 1)
            for seq, piece in ((1, frame(message(1))), (2, frame(message(2)[:50], final=0)), (3, frame(message(1)))):
                sock.sendall(piece)
                await until(lambda seq=seq: engine.damaged or engine.buffer.used // RECORD_BYTES == min(seq, 1))
                await asyncio.sleep(0.02)
            assert frame(message(1)) in engine.frames.known
            sock.close()
            await engine.finish()

    with asyncio.Runner(loop_factory=StampedLoop) as runner:
        runner.run(asyncio.wait_for(main(), 60))
    _, events = journaled(tmp_path / "s")
    assert [one for one in events if one["ev"] == "damaged"]


@pytest.mark.usefixtures("receiver")
@pytest.mark.parametrize("behind", range(-2, 3))
def test_a_read_whose_beginning_the_parser_took_alone_may_end_within_a_frame(tmp_path: Path, behind: int) -> None:
    """A frame that ended with the room that it has said that all did; the rest is another one's head."""

    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener, StripeWriter(tmp_path / "s", {}) as stripe:
            loop = asyncio.get_running_loop()
            engine = ClientsEngine(config_for(listener.getsockname()[1], tmp_path, probes=0), stripe, loop)
            engine.command({"op": "connect", "client": 0})
            sock = await asyncio.to_thread(accepted, listener)
            sock.sendall(frame(CONFIRMATION))
            await until(lambda: engine.counts()["connected"] == 1)
            sock.sendall(frame(message(1)))
            await until(lambda: engine.buffer.used == RECORD_BYTES)
            (link,) = engine._links.values()
            assert link._stamped is not None
            room = len(link._stamped.get_protocol().get_buffer(-1))  # type: ignore[attr-defined]
            envelope = frame(b"{" + frame(message(1)))
            size = len(frame(message(1)))
            last = 1 + (room - size) // size
            read = b"".join(frame(message(seq)) for seq in range(2, last + 1))
            read += frame(b"x" * (room + behind - len(read) - 4))
            assert len(read) == room + behind
            sock.sendall(read + envelope[: -len(frame(message(1)))])
            await until(lambda: engine.buffer.used == last * RECORD_BYTES)
            await asyncio.sleep(0.05)  # nothing else is left to wait for
            sock.sendall(frame(message(1)))  # the rest of the envelope, which holds one message
            await until(lambda: engine.buffer.used == (last + 1) * RECORD_BYTES)
            sock.sendall(frame(b"are you there", PING) + frame(message(last + 1)))
            await until(lambda: engine.buffer.used >= (last + 2) * RECORD_BYTES)
            sock.close()
            await engine.finish()

    with asyncio.Runner(loop_factory=StampedLoop) as runner:
        runner.run(asyncio.wait_for(main(), 60))
    records, events = journaled(tmp_path / "s")
    seqs = records["seq"].tolist()
    assert seqs == [*range(1, len(seqs) - 1), 1, len(seqs) - 1]
    assert not [event for event in events if event["ev"] == "damaged"], "each byte was read where it belongs"


def shapes(random: Random, seq: int, expected: list[int], damaged: list[int]) -> Iterator[bytes]:
    """What a server sends of one message, in the pieces in which it sends it."""
    payload = message(seq)
    expected.append(seq)
    match random.choice(("alone",) * 6 + ("twice", "cut", "in fragments", "damaged", "in an envelope", "begun before")):
        case "alone":
            yield frame(payload)
        case "twice":
            expected.append(seq)
            yield frame(payload) * 2
        case "cut":
            at = random.randrange(1, len(frame(payload)))
            yield frame(payload)[:at]
            yield frame(payload)[at:]
        case "in fragments":
            at = random.randrange(1, PAYLOAD_BYTES)
            yield frame(payload[:at], final=0)
            yield frame(b"are you there", PING)
            yield frame(payload[at:], CONTINUATION)
        case "damaged":
            damaged.append(seq)
            yield frame(payload[:-1] + b"#")
        case "in an envelope":  # which ends with the very bytes that others have got alone
            whole = frame(b"{" + frame(payload))
            yield whole[: -len(frame(payload))]
            yield frame(payload)
        case "begun before":  # together with a whole one
            expected.append(seq)
            whole = frame(b"{" + frame(payload))
            yield frame(payload) + whole[: -len(frame(payload))]
            yield frame(payload)
