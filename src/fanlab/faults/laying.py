"""Laying the link: the proxies that network faults act on, between nodes and Redis and between nodes and clients.

Only the links that the timeline names run through it. They do so from the start: a connection that is already there
cannot be led elsewhere. With no network fault, or only faults of packets, there is no link, and nothing between the
system's parts.
"""

import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit, urlunsplit

from fanlab.errors import MeasurementError
from fanlab.faults.catalogue import LINK_OF
from fanlab.faults.link_toxic import proxy_name
from fanlab.faults.packets import by_packets
from fanlab.faults.timeline import PlannedFault
from fanlab.link.client import LinkClient
from fanlab.rundir import RunDir
from fanlab.topology.backend import Backend, NodeEndpoint
from fanlab.topology.private import private_folder

LINK: Final = "link"  # its unit
_REDIS_PORT: Final = 6379
_WS_PORT: Final = 80


def wanted(timeline: Iterable[PlannedFault]) -> frozenset[tuple[str, str]]:
    """(node, `clients` or `redis`) of every link that a fault acts on, but for faults of packets."""
    through = (fault for fault in timeline if fault.kind in LINK_OF and not by_packets(fault.settings))
    return frozenset((fault.target, LINK_OF[fault.kind](fault)) for fault in through)


class Links:
    """The link of a run, for as long as the `async with` lasts; without anything to lay it starts nothing."""

    def __init__(self, backend: Backend, rundir: RunDir, links: frozenset[tuple[str, str]], *, seed: int) -> None:
        self._backend = backend
        self._rundir = rundir
        self._links = links
        self._seed = seed
        self._log = rundir.logs / f"{LINK}.log"
        self._folder: Path | None = None
        self.client: LinkClient | None = None

    async def __aenter__(self) -> Self:
        """Start its process and take its controls. Raises EnvironmentFailure if it does not come up."""
        if self._links:
            self._folder = await private_folder(self._backend)
            control = self._folder / "link"
            where = ["--control", str(control), "--host", self._backend.bind_host]
            kept = ["--journal", str(self._rundir.link.absolute()), "--seed", str(self._seed)]
            argv = [self._backend.python, "-m", "fanlab.link.server", *where, *kept]
            await self._backend.start_helper(LINK, argv, {}, self._log)
            self.client = await LinkClient(control).__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.client is not None:
            await self.client.__aexit__(None, None, None)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def check(self) -> None:
        """Raises MeasurementError if the link has ended: all that ran over it was cut off, by us and not by a fault."""
        if self.client is not None and not self.client.alive:
            raise MeasurementError("the link, through which traffic ran, has ended by itself", hint=f"see {self._log}")

    async def redis_url(self, node: str, url: str) -> str:
        """What a node is to be told instead of Redis' `url`: the same, unless a fault acts on that link of it."""
        return await self._led(node, "redis", url, _REDIS_PORT)

    async def before(self, node: NodeEndpoint) -> NodeEndpoint:
        """The node as its clients are to reach it. Its caches are read without a detour."""
        return replace(node, ws_url=await self._led(node.id, "clients", node.ws_url, _WS_PORT))

    async def _led(self, node: str, link: str, url: str, default_port: int) -> str:
        if self.client is None or (node, link) not in self._links:
            return url
        parts = urlsplit(url)
        listen = await self.client.proxy(proxy_name(node, link), f"{parts.hostname}:{parts.port or default_port}")
        login, at, _ = parts.netloc.rpartition("@")
        place = f"{self._backend.host_of(LINK)}:{listen.rpartition(':')[2]}"
        return urlunsplit(parts._replace(netloc=f"{login}{at}{place}"))
