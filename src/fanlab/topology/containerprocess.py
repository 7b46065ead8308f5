"""One life of a container: started, followed to its log, watched through this machine's /proc, and ended.

A container's first process is the engine's init, which passes SIGTERM on and reaps; the unit's own is its first child.
"""

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from typing import Any, Final, Self

import psutil

from fanlab.clock import now_ns
from fanlab.errors import EnvironmentFailure
from fanlab.topology.backend import Need, UnitState
from fanlab.topology.cgroups import CONTROLLERS, Group, hierarchy
from fanlab.topology.engine import Engine
from fanlab.topology.warden import ProcessStat, read_stat
from fanlab.topology.wardenclient import Exited

BORN_WITHIN_S: Final = 10.0  # between the engine's word that it runs and the unit's own process
POLL_S: Final = 0.005
_SIGNALLED: Final = 128  # an init ends with this plus the signal that ended what it ran
_FREEZERS: Final = ("freezer.state", "cgroup.events")  # of versions 1 and 2
_FROZEN: Final = ("FROZEN", "frozen 1")


class ContainerProcess:
    """A running container's main process. Belongs to one event loop."""

    def __init__(self, name: str, exit_: "asyncio.Future[int]") -> None:
        self._name = name
        self._status = exit_
        self._stat: ProcessStat | None = None
        self._freezer: Path | None = None
        self._groups: dict[Need, Group] = {}
        self.memory_kills = 0  # as last noted
        self.gone_ns: int | None = None  # when its process ended

    @classmethod
    async def start(cls, engine: Engine, name: str, container: str, log: Path, title: str) -> Self:
        """Start a container that has been made; all that it says from then on is appended to `log`.

        Raises EnvironmentFailure if the engine cannot start it, or its processes are not this machine's.
        """
        try:
            fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            os.write(fd, f"--- fanlab starts {name}: {title}\n".encode(errors="backslashreplace"))
        except OSError as error:
            raise EnvironmentFailure(
                f"{name} cannot be started: its log {log} cannot be written ({error.strerror})",
                hint="free some space there, or give another run directory with --out",
            ) from error
        process = cls(name, await engine.follow(name, container, fd))
        await engine.ask(f"start {name}", lambda api: api.start(container))
        state = await engine.ask(f"look at {name}", lambda api: api.inspect_container(container)["State"])
        await process._born(int(state["Pid"]))
        return process

    @property
    def pid(self) -> int:
        """Its number on this machine; 0 of one that ended too soon to be seen."""
        return 0 if self._stat is None else self._stat.pid

    async def exited(self) -> Exited:
        """How it ends, or has ended, once its whole output is in the log. Raises EnvironmentFailure without engine."""
        return Exited(self._name, self.pid, exit_status(await asyncio.shield(self._status)))

    def state(self) -> UnitState:
        """What the kernel says of it now."""
        if self._status.done() or self._stat is None:
            return UnitState.GONE
        stat = read_stat(self._stat.pid)
        if stat is None or stat.state in "ZX" or stat.start_ticks != self._stat.start_ticks:
            return UnitState.GONE
        return UnitState.PAUSED if self._freezer is not None and _frozen(self._freezer) else UnitState.RUNNING

    def group(self, need: Need) -> Group:
        """The cgroup that limits it. Raises EnvironmentFailure where this machine does not show it."""
        if need not in self._groups:
            raise EnvironmentFailure(f"this machine does not show the cgroup that sets the {need} of {self._name}")
        return self._groups[need]

    def note_memory_kills(self) -> int:
        """How many of its processes the kernel has killed for want of memory, as long as its cgroup is there."""
        if Need.MEMORY_LIMIT in self._groups:
            self.memory_kills = max(self.memory_kills, self._groups[Need.MEMORY_LIMIT].kills())
        return self.memory_kills

    async def _born(self, init: int) -> None:
        """Find the unit's own process below the container's init, unless it has ended already."""
        loop = asyncio.get_running_loop()
        end = loop.time() + BORN_WITHIN_S
        while not self._status.done():
            self._stat = _eldest_child(init)
            if self._stat is not None:
                self._mind(self._stat.pid)
                self._note_groups(self._stat.pid)
                return
            if loop.time() >= end:
                raise EnvironmentFailure(
                    f"the process of {self._name} (below {init}) is not to be seen on this machine",
                    hint="run fanlab on the engine's own machine, and not inside a container of its own",
                )
            await asyncio.sleep(POLL_S)

    def _mind(self, pid: int) -> None:
        """Have the kernel tell when it ends: the engine does so much later."""
        try:
            fd = os.pidfd_open(pid)
        except OSError:
            return  # it has ended already
        loop = asyncio.get_running_loop()

        def gone(*_: object) -> None:
            if self.gone_ns is None:
                self.gone_ns = now_ns()
                loop.remove_reader(fd)
                os.close(fd)

        loop.add_reader(fd, gone)
        self._status.add_done_callback(gone)

    def _note_groups(self, pid: int) -> None:
        """While it is there to ask: later it may have ended."""
        for need, controller in CONTROLLERS.items():
            if (path := group_path(pid, controller)) is not None:
                self._groups[need] = Group(controller, path)
        for controller in ("freezer", *CONTROLLERS.values()):
            root, path = hierarchy(controller), group_path(pid, controller)
            files = [] if root is None or path is None else [root.root / path / name for name in _FREEZERS]
            for file in files:
                if file.exists():
                    self._freezer = file
                    return


def exit_status(code: int) -> int:
    """An exit code as an engine tells it (137) as a process's status (-9)."""
    with contextlib.suppress(ValueError):
        if code > _SIGNALLED:
            return -signal.Signals(code - _SIGNALLED)
    return code


def group_path(pid: int, controller: str) -> str | None:
    """Where a process's group is below the controller's hierarchy; None: it has none, or the process is gone."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    parts = [line.split(":", 2) for line in lines]
    named = [path for _, controllers, path in parts if controller in controllers.split(",")]
    unified = [path for number, controllers, path in parts if number == "0" and not controllers]
    return next(iter([*named, *unified]), "").lstrip("/") or None


def _eldest_child(pid: int) -> ProcessStat | None:
    try:
        children = psutil.Process(pid).children()
    except psutil.Error:
        return None
    stats = [stat for child in children if (stat := read_stat(child.pid)) is not None]
    return min(stats, key=lambda stat: (stat.start_ticks, stat.pid), default=None)


def _frozen(file: Path) -> bool:
    try:
        lines: Any = file.read_text(encoding="ascii").splitlines()
    except OSError:  # gone with its container
        return False
    return any(line in _FROZEN for line in lines)
