"""The run's side of workers on other hosts: one TCP port, bound when asked for, through which all of theirs comes.

A worker's own connection carries what a local one's Unix socket does: orders down, news up. Locust's distribution and,
at the end, journals come over connections of their own to the same port, so Locust's port stays on this machine.
"""

import asyncio
import contextlib
import ipaddress
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from fanlab.clock import NS_PER_S, boot_id, now_ns
from fanlab.errors import EnvironmentFailure, MeasurementError
from fanlab.load.invitation import Invitation
from fanlab.load.joining import (
    GREET_S,
    Incoming,
    Knock,
    Refused,
    admit,
    keep_alive,
    refused,
    splice,
)
from fanlab.load.limits import net_namespace
from fanlab.load.transfer import NotStored, receive_file
from fanlab.load.wire import Message, encode
from fanlab.rundir import RunDir
from fanlab.topology.reach import is_loopback

JOIN_WITHIN_S: Final = 300.0
CONFIGURE_S: Final = 30.0
END_S: Final = 20.0  # for a worker to end once Locust has told it to
QUIET_S: Final = 15.0  # no byte of a journal for so long: no more will come
LOST_S: Final = 10.0  # likewise, of a worker whose connection has ended
STRANGERS: Final = 32  # that may be at the door at once


@dataclass(slots=True)
class Remote:
    """One worker on another host. `facts` is what it said of itself."""

    index: int
    facts: dict[str, Any]
    writer: asyncio.StreamWriter
    hear: Callable[[Message], None] | None = None
    hung_up: Callable[[], None] | None = None
    set_up: bool = False  # it has its configuration, and knows the run's clock
    ended: bool = False  # its connection is
    home: bool = False  # it has said that all it has was sent
    log_came: bool = False  # which is the last of its files
    kept: dict[str, str] = field(default_factory=dict)  # files that did not come over, and why

    @property
    def unit(self) -> str:
        """Its name in the run."""
        return f"load-{self.index}"

    @property
    def name(self) -> str:
        """With its host, for people."""
        return f"{self.unit} (on {self.facts.get('host')}, {self.facts.get('address')})"

    def tell(self, message: Mapping[str, Any]) -> None:
        """Send a line. One that cannot be sent is dropped: the connection's end is told otherwise."""
        if not self.ended:
            self.writer.write(encode(message))


class Remotes:
    """Open it, wait until all have joined, let a LoadSession use them, and close it when their journals are home."""

    def __init__(self, wanted: Invitation, rundir: RunDir, first_index: int) -> None:
        """Workers are numbered from `first_index` on."""
        self.wanted = wanted
        self.joined: list[Remote] = []
        self._rundir = rundir
        self._first_index = first_index
        self._server: asyncio.Server | None = None
        self._master: tuple[str, int] | None = None
        self._changed = asyncio.Event()
        self._moved_ns = now_ns()
        self._at_the_door = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Bind the port. Raises EnvironmentFailure."""
        try:
            self._server = await asyncio.start_server(self._greet, self.wanted.host, self.wanted.port)
        except OSError as error:
            raise EnvironmentFailure(
                f"--listen {self.wanted.host}:{self.wanted.port} cannot be listened on: {error.strerror or error}",
                hint="give an address of this machine, and a port that nobody uses",
            ) from error

    @property
    def address(self) -> str:
        """HOST:PORT as a worker is told it."""
        if self._server is None:
            return f"{self.wanted.host}:{self.wanted.port}"
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def command(self) -> str:
        """What to type on another host."""
        where = f"fanlab worker --master {self.address}"
        return f"FANLAB_TOKEN=… {where}" if self.wanted.known else f"{where} --token {self.wanted.token}"

    async def gathered(self, told: Callable[[Remote], None]) -> None:
        """Wait until all have joined; `told` hears of each. Raises EnvironmentFailure at the deadline."""
        deadline_ns = now_ns() + round(JOIN_WITHIN_S * NS_PER_S)
        greeted = 0
        while True:
            for remote in self.joined[greeted:]:
                told(remote)
            greeted = len(self.joined)
            self.check()
            if greeted == self.wanted.expect:
                return
            if not await self._changes(deadline_ns):
                raise EnvironmentFailure(
                    f"{greeted} of {self.wanted.expect} workers have joined within {JOIN_WITHIN_S:g} s",
                    hint=f"start the others with: {self.command()}",
                )

    def check(self) -> None:
        """Raises EnvironmentFailure if a worker has left that is still to work."""
        for remote in self.joined:
            if remote.ended and not remote.home:
                raise EnvironmentFailure(f"{remote.name} has left before the run began")

    def find(self, unit: str) -> Remote | None:
        """The worker of that name, if it is one of these."""
        return next((remote for remote in self.joined if remote.unit == unit), None)

    def check_means(self, clients: int, node_urls: Sequence[str], redis_url: str) -> None:
        """Raises EnvironmentFailure if a worker cannot have so many clients, or cannot reach what it is to load."""
        for remote in self.joined:
            allowed = int(remote.facts.get("connections", 0))
            if clients > allowed:
                raise EnvironmentFailure(
                    f"{clients} clients per load worker are more than {remote.name} may have connections: {allowed}",
                    hint="raise `ulimit -n` there, or have more workers",
                )
            host = unreachable(remote, [*node_urls, *([] if remote.facts["own_redis_url"] else [redis_url])])
            if host is not None:
                raise EnvironmentFailure(
                    f"{remote.name} cannot reach {host}, which means something else there",
                    hint="have it listen on an address that all hosts reach (--system-host), or name a system that does"
                    " with --backend external; for Redis alone: fanlab worker --redis-url",
                )

    async def configure(self, remote: Remote, config: dict[str, Any], workers: int) -> None:
        """Give it all that it needs, and wait until it is set up. Raises EnvironmentFailure."""
        remote.tell({"op": "config", "config": config, "workers": workers})
        deadline_ns = now_ns() + round(CONFIGURE_S * NS_PER_S)
        while not remote.set_up:
            self.check()
            if not await self._changes(deadline_ns):
                raise EnvironmentFailure(f"{remote.name} was not set up within {CONFIGURE_S:g} s")

    def lead_to(self, master: tuple[str, int]) -> None:
        """Where Locust's master listens, for this process."""
        self._master = master

    async def bring_home(self) -> None:
        """Wait for the journals. Returns when all are there, or when nothing more will come; never raises."""
        begun_ns = self._moved_ns = now_ns()
        asked = False
        while any(map(self._awaited, self.joined)):
            if not asked and now_ns() - begun_ns > END_S * NS_PER_S / 2:
                asked = True  # Locust's word has not reached them
                for remote in self.joined:
                    remote.tell({"op": "quit"})
            if now_ns() - self._moved_ns > (END_S + QUIET_S) * NS_PER_S:
                return
            await self._changes(now_ns() + NS_PER_S)

    def _awaited(self, remote: Remote) -> bool:
        """Whether more may come of it."""
        if remote.ended:  # it may bring what it has over a new connection, if it lives
            return not (remote.home or remote.log_came) and now_ns() - self._moved_ns < LOST_S * NS_PER_S
        return remote.set_up and not remote.home  # before that it has nothing

    def problems(self) -> list[str]:
        """What is missing of the workers' journals, a sentence each."""
        found = []
        for remote in self.joined:
            if remote.kept:
                kept = "; ".join(f"{name}: {why}" for name, why in sorted(remote.kept.items()))
                found.append(f"{remote.name} keeps what did not come home ({kept})")
            elif not remote.home:
                found.append(f"the journals of {remote.name} did not come home: its connection ended first")
        return found

    def check_home(self) -> None:
        """Raises MeasurementError if a journal is missing."""
        if problems := self.problems():
            raise MeasurementError("; ".join(problems), hint="what a worker keeps can be copied into journal/ by hand")

    def facts(self) -> list[dict[str, Any]]:
        """For the manifest."""
        return [{"unit": remote.unit, **remote.facts} for remote in self.joined]

    async def close(self) -> None:
        """Hang up. Safe to call twice."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for remote in self.joined:
            remote.writer.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # One connection

    def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._attend(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _attend(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._at_the_door >= STRANGERS:
            writer.close()
            return
        incoming = Incoming(reader)
        self._at_the_door += 1
        try:
            async with asyncio.timeout(GREET_S):
                keep_alive(writer)
                knock = await admit(incoming, writer, self.wanted.token)
        except (Refused, TimeoutError, OSError):
            writer.close()
            return
        finally:
            self._at_the_door -= 1
        with contextlib.suppress(OSError):
            await self._serve(knock, reader, incoming, writer)
        writer.close()

    async def _serve(
        self, knock: Knock, reader: asyncio.StreamReader, incoming: Incoming, writer: asyncio.StreamWriter
    ) -> None:
        welcome = {"op": "welcome", "proof": knock.proof}
        match knock.kind:
            case "rpc":
                if self._master is None:
                    await refused(writer, "Locust's master is not up")
                    return
                theirs = await asyncio.open_connection(*self._master)
                writer.write(encode(welcome))
                await splice((reader, writer), theirs)
            case "file":
                remote = next((one for one in self.joined if one.index == knock.said.get("index")), None)
                if remote is None:
                    await refused(writer, "the run has no such worker")
                    return
                writer.write(encode(welcome))
                await self._receive(remote, reader, incoming, writer)
            case "worker":
                if len(self.joined) >= self.wanted.expect:
                    await refused(writer, f"the run has all {self.wanted.expect} workers that it expects")
                    return
                await self._work_with(knock, welcome, incoming, writer)

    async def _work_with(
        self, knock: Knock, welcome: dict[str, Any], incoming: Incoming, writer: asyncio.StreamWriter
    ) -> None:
        facts = {**_facts(knock.said), "address": str(writer.get_extra_info("peername")[0])}
        remote = Remote(self._first_index + len(self.joined), facts, writer)
        self.joined.append(remote)
        writer.write(encode({**welcome, "index": remote.index, "boot_id": boot_id()}))
        self._changed.set()
        try:
            while (message := await incoming.next()) is not None:
                self._heard(remote, message, now_ns())
        except ValueError:
            pass  # no line of ours: as good as an end
        finally:
            remote.ended = True
            self._changed.set()
            if remote.hung_up is not None:
                remote.hung_up()

    def _heard(self, remote: Remote, message: Message, t_ns: int) -> None:
        match message.get("ev"):
            case "time":
                remote.tell({"op": "time", "t1": t_ns, "t2": now_ns()})
            case "set-up":
                remote.facts |= {name: message.get(name) for name in ("clock_ahead_ns", "clock_bound_ns")}
                remote.set_up = True
            case "home":
                remote.kept = {str(name): str(why) for name, why in dict(message.get("kept") or {}).items()}
                remote.home = True
            case _ if remote.hear is not None:
                remote.hear(message)
        self._changed.set()

    async def _receive(
        self, remote: Remote, reader: asyncio.StreamReader, incoming: Incoming, writer: asyncio.StreamWriter
    ) -> None:
        try:
            with contextlib.suppress(NotStored, ValueError):  # the worker says which it had to keep, and why
                name = await receive_file(reader, incoming, writer, lambda name: self._place(remote, name), self._moves)
                remote.log_came |= name == f"{remote.unit}.log"
        finally:
            self._moves()
            self._changed.set()

    def _place(self, remote: Remote, name: str) -> Path | None:
        """Where a file of that name belongs; None for one that is none of its own."""
        if name in (f"clients-{remote.index}.stripe", f"publishers-{remote.index}.stripe"):
            return self._rundir.journal / name
        return self._rundir.logs / name if name == f"{remote.unit}.log" else None

    def _moves(self) -> None:
        self._moved_ns = now_ns()

    async def _changes(self, deadline_ns: int) -> bool:
        """Wait until something has changed; False at the deadline."""
        self._changed.clear()
        try:
            async with asyncio.timeout(max(0, deadline_ns - now_ns()) / NS_PER_S):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True


def unreachable(remote: Remote, urls: Sequence[str]) -> str | None:
    """The first of these URLs' hosts that the worker cannot mean the same by as we do; None: it can reach them all."""
    ours = (boot_id(), net_namespace())
    if (remote.facts.get("boot_id"), remote.facts.get("net")) == ours and ours[0] is not None:
        return None
    for url in urls:
        host = urlsplit(url).hostname or ""
        try:
            ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return host
        if is_loopback(host):
            return host
    return None


def _facts(said: Mapping[str, Any]) -> dict[str, Any]:
    """What a worker says of itself, as far as it is what it should be."""
    texts = {name: str(said[name])[:200] for name in ("host", "boot_id", "net") if said.get(name) is not None}
    numbers = {name: int(said[name]) for name in ("connections", "cores") if isinstance(said.get(name), int)}
    versions = said.get("versions")
    told = (
        {str(name)[:40]: str(version)[:40] for name, version in versions.items()} if isinstance(versions, dict) else {}
    )
    return {**texts, **numbers, "versions": told, "own_redis_url": bool(said.get("own_redis_url"))}
