"""Connections whose messages bear the kernel's time: a loop that is late does not make them late."""

import asyncio
import errno
import os
import select
import socket
import struct
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect
from websockets.asyncio.server import ServerConnection, serve

from fanlab.clock import NS_PER_MS, now_ns
from fanlab.ledger.records import DELIVERY_DTYPE, Token, encode_token
from fanlab.ledger.stripe import Kind, StripeReader, StripeWriter
from fanlab.load.bulk import Left
from fanlab.load.clients import ClientsEngine
from fanlab.load.stamped import StampedLoop, StampedTransport
from support.raw_server import accepted, config_for, frame, until

pytestmark = pytest.mark.skipif("sys.platform != 'linux'", reason="other kernels stamp otherwise")


def run(main: Callable[[], Awaitable[None]]) -> None:
    """In the engine's own loop."""
    with asyncio.Runner(loop_factory=StampedLoop) as runner:
        runner.run(asyncio.wait_for(main(), 60))  # type: ignore[arg-type]


class Client(WSListener):  # type: ignore[misc]
    """Keeps what comes, with its times."""

    def __init__(self) -> None:
        self.frames: list[tuple[int, bytes]] = []
        self.gone = asyncio.Event()
        self.open = asyncio.Event()

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport
        self.line: StampedTransport = transport.underlying_transport
        self.open.set()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        self.frames.append((self.line.arrived_ns(), frame.get_payload_as_bytes()))
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code())
            transport.disconnect()

    def on_ws_disconnected(self, transport: WSTransport) -> None:  # noqa: ARG002 - as picows calls it
        self.gone.set()


async def with_client(
    test: Callable[[Client, ServerConnection], Awaitable[None]],
) -> None:
    """A client of ours against a server of another library's."""
    there: asyncio.Queue[ServerConnection] = asyncio.Queue()

    async def handler(connection: ServerConnection) -> None:
        await there.put(connection)
        async for message in connection:
            await connection.send(message)

    client = Client()
    async with serve(handler, "127.0.0.1", 0, ping_interval=None, compression=None, close_timeout=0.2) as server:
        port = server.sockets[0].getsockname()[1]
        await ws_connect(lambda: client, f"ws://127.0.0.1:{port}/ws", use_aiofastnet=False)
        connection = await there.get()
        # The kernel turns stamping on some time after the first socket has asked for it.
        for _ in range(100):
            await connection.send(b"warm")
            await asyncio.sleep(0.01)
        await until(lambda: len(client.frames) == 100)
        client.frames.clear()
        await test(client, connection)


def test_what_came_while_the_loop_stood_still_has_the_time_at_which_it_came() -> None:
    async def test(client: Client, connection: ServerConnection) -> None:
        await client.open.wait()
        sock = connection.transport.get_extra_info("socket")
        before_ns = now_ns()
        os.write(sock.fileno(), frame(b"one"))
        after_ns = now_ns()
        time.sleep(0.2)  # noqa: ASYNC251 - a stall is what is tested
        await until(lambda: bool(client.frames))
        ((at_ns, payload),) = client.frames
        assert payload == b"one"
        assert before_ns - NS_PER_MS <= at_ns <= after_ns + NS_PER_MS

    run(lambda: with_client(test))


def test_messages_read_together_have_the_last_ones_time_and_keep_their_order() -> None:
    async def test(client: Client, connection: ServerConnection) -> None:
        sock = connection.transport.get_extra_info("socket")
        for k in range(5):
            last_ns = now_ns()
            os.write(sock.fileno(), frame(b"%d" % k))
            time.sleep(0.01)  # noqa: ASYNC251 - a stall is what is tested
        await until(lambda: len(client.frames) == 5)
        times = [at_ns for at_ns, _ in client.frames]
        assert [payload for _, payload in client.frames] == [b"0", b"1", b"2", b"3", b"4"]
        assert times == sorted(set(times)), "each later than the one before"
        assert last_ns - NS_PER_MS <= times[0] <= times[-1] <= now_ns()

    run(lambda: with_client(test))


def test_much_is_written_when_the_peer_reads_slowly_and_a_goodbye_is_answered() -> None:
    async def test(client: Client, connection: ServerConnection) -> None:
        big = bytes(6_000_000)
        connection.transport.pause_reading()
        client.transport.send(WSMsgType.BINARY, big)
        assert client.line.get_write_buffer_size() > 0, "more than the kernel takes at once"
        client.transport.send(WSMsgType.BINARY, b"after")
        await asyncio.sleep(0.05)
        connection.transport.resume_reading()
        await until(lambda: bool(client.frames) and client.frames[-1][1] == b"after")
        assert client.line.get_write_buffer_size() == 0
        client.transport.send_close()
        await client.gone.wait()
        assert client.line.is_closing()

    async def small_first(client: Client, connection: ServerConnection) -> None:
        connection.protocol.max_message_size = None
        await test(client, connection)

    run(lambda: with_client(small_first))


@pytest.mark.parametrize("how", ["their end", "our disconnect", "our abort"])
def test_an_end_is_told_once_whoever_ends_it(how: str) -> None:
    async def test(client: Client, connection: ServerConnection) -> None:
        if how == "their end":
            connection.transport.abort()
        else:
            client.transport.disconnect(how == "our disconnect")
            client.transport.disconnect(False)
            client.line.write(b"too late")
        await client.gone.wait()
        assert client.line.is_closing()
        await asyncio.sleep(0)
        assert client.line.get_extra_info("socket").fileno() == -1, "its file is free"

    run(lambda: with_client(test))


def test_nobody_listening_is_an_error_as_with_any_loop() -> None:
    async def test() -> None:
        with pytest.raises(ConnectionRefusedError):
            await ws_connect(Client, "ws://127.0.0.1:1/ws", use_aiofastnet=False)

    run(test)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_host_may_have_a_name_or_an_address(host: str) -> None:
    async def test() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = listening.getsockname()[1]
            transport, _ = await loop_of_this_test().create_connection(asyncio.BufferedProtocol, host, port)
            assert transport.get_extra_info("peername") == ("127.0.0.1", port)
            transport.abort()
            await asyncio.sleep(0)

    run(test)


def test_a_connection_that_is_never_answered_can_be_given_up() -> None:
    async def test() -> None:
        loop = loop_of_this_test()
        with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
            port = full.getsockname()[1]
            with socket.create_connection(("127.0.0.1", port)):  # the one that it has room for
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.2):
                        await loop.create_connection(asyncio.BufferedProtocol, "127.0.0.1", port)
                assert not loop.poller._ready, "nobody waits for it any more"

    run(test)


def loop_of_this_test() -> StampedLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, StampedLoop)
    return loop


def test_a_clients_journal_has_the_kernels_time(tmp_path: Path) -> None:
    """The whole engine, stalled while a message comes: its latency is not the stall."""

    async def test() -> None:
        connections: list[ServerConnection] = []

        async def handler(connection: ServerConnection) -> None:
            await connection.recv()
            await connection.send('{"type":"subscribed","channel":"news"}')
            connections.append(connection)
            await connection.wait_closed()

        async with serve(handler, "127.0.0.1", 0, ping_interval=None, compression=None, close_timeout=0.2) as server:
            config = config_for(server.sockets[0].getsockname()[1], tmp_path)
            with StripeWriter(tmp_path / "s", {"role": "clients"}) as stripe:
                engine = ClientsEngine(config, stripe, asyncio.get_running_loop())
                engine.command({"op": "connect", "client": 0})
                await until(lambda: engine.counts()["connected"] == 1 and engine.probes.open == 1)
                sockets = [one.transport.get_extra_info("socket").fileno() for one in connections]
                for seq in range(1, 101):  # until the kernel stamps
                    say(sockets, seq)
                    await asyncio.sleep(0.01)
                engine.probes.event(0)
                say(sockets, 101)
                time.sleep(0.2)  # noqa: ASYNC251 - a stall is what is tested
                await asyncio.sleep(0.05)
                event: Any = engine.probes.event(now_ns())
                assert event["delays_us"][0] >= 190_000, "it waited for the loop"
                assert event["late_us"][0] <= 1_000, "and is not told as late"
                await engine.finish()

    run(test)
    frames = [f.payload for f in StripeReader(tmp_path / "s") if f.kind is Kind.DELIVERIES]
    records = np.concatenate([np.frombuffer(payload, DELIVERY_DTYPE) for payload in frames])
    (last,) = records[records["seq"] == 101]
    assert 0 <= int(last["recv_ns"]) - int(last["intended_ns"]) < 50 * NS_PER_MS


def say(sockets: list[int], seq: int) -> None:
    payload = encode_token(Token(7, 0, seq, now_ns(), 0)) + b"abcdeghijk"
    for fd in sockets:
        os.write(fd, frame(payload))


def test_a_reset_that_comes_together_with_data_is_not_overlooked() -> None:
    """libuv stops polling a socket that has an error, so nobody tells of one that came while something was read."""

    async def main() -> None:
        client = Client()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            serving = asyncio.create_task(asyncio.to_thread(accepted, listener))
            await ws_connect(lambda: client, f"ws://127.0.0.1:{listener.getsockname()[1]}/ws", use_aiofastnet=False)
            sock = await serving
        sock.sendall(frame(b"last"))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()  # a RST, before the loop looks again
        await asyncio.wait_for(client.gone.wait(), 10)
        assert [payload for _, payload in client.frames] == [b"last"]

    run(main)


def test_what_was_read_before_an_error_is_handed_over_first() -> None:
    async def test(client: Client, connection: ServerConnection) -> None:  # noqa: ARG001 - it sends nothing
        line, last = client.line, frame(b"last")
        line._into[0][: len(last)] = last
        line._took(Left(line._fd, select.EPOLLIN, len(last), now_ns(), errno.ECONNRESET))
        await asyncio.wait_for(client.gone.wait(), 10)
        assert [payload for _, payload in client.frames] == [b"last"]

    run(lambda: with_client(test))


def test_clients_past_the_first_twenty_thousand_come_from_other_addresses(tmp_path: Path) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener, StripeWriter(tmp_path / "s", {}) as stripe:
            config = config_for(listener.getsockname()[1], tmp_path, clients=40_001, probes=0)
            engine = ClientsEngine(config, stripe, asyncio.get_running_loop())
            found = []
            for client in (19_999, 20_000, 40_000):
                engine.command({"op": "connect", "client": client})
                with await asyncio.to_thread(accepted, listener) as sock:
                    found.append(sock.getpeername()[0])
                    await until(lambda client=client: client in engine._links)
            assert found == ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
            await engine.finish()

    run(main)
