"""The little HTTP client against servers that behave, and servers that do not."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from fanlab.load.http_get import Getter, NoAnswer

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


class Server:
    """Answers each request of a connection with the next of `answers`; None hangs up instead."""

    def __init__(self, *answers: bytes | None) -> None:
        self._answers = list(answers)
        self.connections = 0
        self.requests: list[bytes] = []

    async def __aenter__(self) -> Getter:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.getter = Getter(f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/cache/{{key}}")
        return self.getter

    async def __aexit__(self, *_: object) -> None:
        self.getter.close()
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                self.requests.append(await reader.readuntil(b"\r\n\r\n"))
                answer = self._answers.pop(0)
                if answer is None:
                    break
                writer.write(answer)
                if b"Connection: close" in answer or b"Content-Length" not in answer:
                    break
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()


async def test_a_connection_is_kept_where_the_server_keeps_it() -> None:
    server = Server(OK, OK)
    async with server as getter:
        first, second = await getter.get("/cache/a-1"), await getter.get("/cache/a-2")
    assert (first.status, first.body, second.body) == (200, b"hi", b"hi")
    assert first.asked_ns <= first.answered_ns <= second.asked_ns
    assert server.connections == 1
    assert [request.split(b" ")[:2] for request in server.requests] == [
        [b"GET", b"/cache/a-1"],
        [b"GET", b"/cache/a-2"],
    ]


async def test_a_server_that_closes_is_asked_on_a_new_one() -> None:
    closing = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    server = Server(closing, OK)
    async with server as getter:
        assert (await getter.get("/")).body == (await getter.get("/")).body == b"hi"
    assert server.connections == 2


async def test_a_kept_connection_that_has_gone_is_no_news() -> None:
    server = Server(OK, None, OK)
    async with server as getter:
        await getter.get("/")
        assert (await getter.get("/")).status == 200
    assert server.connections == 2


async def test_bodies_may_come_in_chunks_or_until_the_end() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
    async with Server(chunked, b"HTTP/1.1 404 Not Found\r\n\r\nno") as getter:
        assert (await getter.get("/")).body == b"hello"
        missing = await getter.get("/")
        assert (missing.status, missing.body) == (404, b"no")


@pytest.mark.parametrize(
    "answer", [None, b"SSH-2.0\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nhi"]
)
async def test_what_is_no_whole_answer_is_none(answer: bytes | None) -> None:
    async with Server(answer) as getter:
        with pytest.raises(NoAnswer):
            await getter.get("/")


async def test_a_server_that_is_not_there_is_told_of() -> None:
    async with Server() as getter:
        pass
    with pytest.raises(NoAnswer):
        await getter.get("/")
