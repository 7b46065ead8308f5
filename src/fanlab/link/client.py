"""The harness's end of a link: make proxies, add and remove toxics, see what they do."""

import asyncio
import contextlib
import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

from fanlab.errors import EnvironmentFailure, HarnessError
from fanlab.link.state import ProxyState

START_S: Final = 30.0
_POLL_S: Final = 0.01
_LINE_BYTES: Final = 1 << 24
_HINT: Final = "see nodes/link.log in the run directory"


class LinkClient:
    """Controls one link from entry to exit, and ends it by leaving. Belongs to one event loop.

    Every method raises EnvironmentFailure when the link is gone, and HarnessError for an order that makes no sense.
    """

    def __init__(self, path: Path, *, deadline_s: float = START_S) -> None:
        """`path` is the socket that the link's process makes; it may be about to start."""
        self._path = path
        self._deadline_s = deadline_s
        self._ids = itertools.count(1)
        self._asked: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Wait until the link is there. Raises EnvironmentFailure at the deadline."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._deadline_s):
                while self._writer is None:
                    await self._dial()
        if self._writer is None:
            raise EnvironmentFailure(f"the link did not start within {self._deadline_s:g} s", hint=_HINT)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()
        if self._reading is not None:
            await asyncio.wait([self._reading])

    @property
    def alive(self) -> bool:
        """Whether the link has been reached, and has not ended since."""
        return self._reading is not None and not self._reading.done()

    async def proxy(self, name: str, upstream: str) -> str:
        """Make a proxy to `upstream` (`host:port`); returns where it listens (`host:port`), for good."""
        return str((await self._ask("proxy", name=name, upstream=upstream))["listen"])

    async def add(
        self,
        proxy: str,
        name: str,
        type_: str,
        *,
        stream: str = "downstream",
        toxicity: float = 1.0,
        attributes: Mapping[str, Any] | None = None,
    ) -> int:
        """Add a toxic; returns how many of the connections there are it hits. It holds when this returns."""
        told = {"type": type_, "stream": stream, "toxicity": toxicity, "attributes": dict(attributes or {})}
        return int((await self._ask("toxic", proxy=proxy, name=name, **told))["hit"])

    async def remove(self, proxy: str, name: str) -> None:
        """Remove a toxic. What it held is on its way when this returns."""
        await self._ask("remove", proxy=proxy, name=name)

    async def reset(self, proxy: str, share: float = 1.0) -> int:
        """Reset this share of the connections, one at least if there is one; returns how many."""
        return int((await self._ask("reset", proxy=proxy, share=share))["reset"])

    async def state(self) -> dict[str, ProxyState]:
        """All proxies by name."""
        proxies = (await self._ask("state"))["proxies"]
        return {name: ProxyState.from_json(state) for name, state in proxies.items()}

    async def _dial(self) -> None:
        try:
            reader, self._writer = await asyncio.open_unix_connection(str(self._path), limit=_LINE_BYTES)
        except OSError:  # not there yet, or nobody listens there yet
            await asyncio.sleep(_POLL_S)
        else:
            self._reading = asyncio.create_task(self._read(reader), name="link")

    async def _ask(self, op: str, **arguments: object) -> dict[str, Any]:
        if self._writer is None or self._reading is None or self._reading.done():
            raise _gone()
        number = next(self._ids)
        reply: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._asked[number] = reply
        try:
            self._writer.write(json.dumps({"id": number, "op": op, **arguments}).encode() + b"\n")
            await self._writer.drain()
            told = await reply
        except OSError as error:
            raise _gone() from error
        finally:
            self._asked.pop(number, None)
        if "error" in told:
            failure = EnvironmentFailure if told["error"]["kind"] == "environment" else HarnessError
            raise failure(f"the link: {told['error']['what']}")
        return told

    async def _read(self, reader: asyncio.StreamReader) -> None:
        """Take in replies until the link ends, then fail whoever still waits."""
        try:
            while line := await reader.readline():
                told = json.loads(line)
                if (reply := self._asked.get(told["id"])) is not None and not reply.done():
                    reply.set_result(told)
        except OSError:
            pass  # it was killed: the same as EOF, told below
        finally:
            for reply in self._asked.values():
                if not reply.done():
                    reply.set_exception(_gone())
                    reply.exception()  # not every one is awaited


def _gone() -> EnvironmentFailure:
    return EnvironmentFailure("the link, through which the system's traffic runs, has ended", hint=_HINT)
