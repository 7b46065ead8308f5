"""Readiness against small servers that misbehave each in one way; a failure must say what was seen."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from fanlab.errors import NodeFailure
from fanlab.topology.ports import reserve
from fanlab.topology.ready import HttpProbe, Readiness, Seen
from fanlab.topology.wardenclient import Exited

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def says(answer: bytes, *, close: bool = True) -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
            if not close:
                await reader.read()  # until the other side closes
        finally:
            writer.close()

    return handle


@asynccontextmanager
async def serving(handler: Handler, path: str = "/readyz") -> AsyncIterator[HttpProbe]:
    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    try:
        yield HttpProbe(*server.sockets[0].getsockname(), path)
    finally:
        server.close()
        await server.wait_closed()


async def never() -> Exited:
    await asyncio.get_running_loop().create_future()
    raise AssertionError


def readiness(probe: HttpProbe, timeout_ms: int = 300, log: list[str] | None = None) -> Readiness:
    typed = ("cd x && server", "cd x && get them")
    return Readiness("node-1", probe, timeout_ms * 1_000_000, typed[0], lambda: log or [], typed[1])


@pytest.mark.parametrize(
    ("answer", "close", "seen", "detail"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", False, Seen.READY, "200"),
        (b"HTTP/1.0 200\r\n\r\n", True, Seen.READY, "200"),
        (
            b"HTTP/1.1 503 Busy\r\nContent-Length: 9\r\n\r\nno\nredis!!",
            False,
            Seen.STATUS,
            "HTTP 503: no redis!",
        ),
        (b"HTTP/1.1 503 Busy\r\n\r\nuntil the end", True, Seen.STATUS, "HTTP 503: until the end"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", False, Seen.STATUS, "HTTP 404"),
        (b"SSH-2.0-server\r\n\r\n", True, Seen.GARBLED, "no HTTP answer"),
        (b"HTTP/1.1 fine\r\n\r\n", True, Seen.GARBLED, "no HTTP answer"),
        (b"HTTP/1.1 503 x\r\nContent-Length: many\r\n\r\n", True, Seen.GARBLED, "no HTTP answer"),
        (b"", True, Seen.GARBLED, "no HTTP answer"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 9000, True, Seen.GARBLED, "no HTTP answer"),
    ],
)
async def test_one_look(answer, close, seen, detail):
    async with serving(says(answer, close=close)) as probe:
        observation = await probe.look()
    assert observation.seen is seen
    assert observation.detail.startswith(detail)
    assert observation.ready is (seen is Seen.READY)


async def test_a_look_at_a_mute_server_gives_up():
    async with serving(says(b"", close=False)) as probe:
        assert (await probe.look(timeout_s=0.05)).seen is Seen.TIMEOUT


async def test_it_waits_through_503_until_200():
    answers = iter([b"HTTP/1.1 503 Busy\r\n\r\n"] * 3)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await says(next(answers, b"HTTP/1.1 200 OK\r\n\r\n"))(reader, writer)

    async with serving(handle) as probe:
        await readiness(probe, 10_000).wait(never())
    assert next(answers, None) is None


@pytest.mark.parametrize(
    ("answer", "close", "said", "hint"),
    [
        (b"HTTP/1.1 503 x\r\n\r\nno redis yet", True, "last met with: HTTP 503: no redis yet", "does not call itself"),
        (b"", False, "last met with: no answer", "does not answer"),
        (b"220 smtp\r\n\r\n", True, "last met with: no HTTP answer", "speaks no HTTP"),
    ],
)
async def test_time_is_up(answer, close, said, hint):
    async with serving(says(answer, close=close)) as probe:
        with pytest.raises(NodeFailure) as caught:
            await readiness(probe, log=["starting", "waiting"]).wait(never())
    assert said in str(caught.value)
    assert "not ready within 300ms" in str(caught.value)
    assert caught.value.log_tail == ("starting", "waiting")
    assert hint in (caught.value.hint or "")


async def test_nobody_listens():
    port = reserve()
    with pytest.raises(NodeFailure, match="last met with: connection refused") as caught:
        await readiness(HttpProbe(port.host, port.port, "/")).wait(never())
    port.close()
    assert "does it listen on the host and port" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("status", "log", "said", "hint"),
    [
        (3, ["boom"], "node-1 ended before it was ready: exit status 3", "start it by hand to see why: cd x && server"),
        (-9, [], "node-1 ended before it was ready: killed by SIGKILL", "by hand"),
        (1, ["OSError: [Errno 98] Address already in use"], "exit status 1", "SO_REUSEADDR"),
        (1, ["Error: listen EADDRINUSE: 127.0.0.1:1"], "exit status 1", "SO_REUSEADDR"),
        (1, ["ModuleNotFoundError: No module named 'x'"], "exit status 1", "dependencies first: cd x && get them"),
        (1, ["Error: Cannot find module 'ws'"], "exit status 1", "dependencies first: cd x && get them"),
        (1, ["Error [ERR_MODULE_NOT_FOUND]: Cannot find package 'ws'"], "exit status 1", "cd x && get them"),
    ],
)
async def test_it_ends_first(status, log, said, hint):
    async def ends() -> Exited:
        return Exited("node-1", 1, status)

    port = reserve()
    with pytest.raises(NodeFailure) as caught:
        await readiness(HttpProbe(port.host, port.port, "/"), 60_000, log).wait(ends())
    port.close()
    assert said in str(caught.value)
    assert hint in (caught.value.hint or "")
    assert caught.value.log_tail == tuple(log)


async def test_a_manifest_that_names_no_installer_leaves_it_to_the_reader():
    async def ends() -> Exited:
        return Exited("node-1", 1, 1)

    port = reserve()
    silent = HttpProbe(port.host, port.port, "/")
    with pytest.raises(NodeFailure) as caught:
        await Readiness("node-1", silent, 1, "run it", lambda: ["Cannot find module 'ws'"]).wait(ends())
    port.close()
    assert caught.value.hint == "install the node's dependencies first"
