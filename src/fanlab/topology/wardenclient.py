"""The harness's end of the warden: start it, let it spawn, signal and end processes, and learn of exits."""

import asyncio
import contextlib
import errno
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from fanlab.errors import EnvironmentFailure, HarnessError
from fanlab.redaction import hide_word
from fanlab.topology import warden
from fanlab.topology.aftermath import Aftermath
from fanlab.topology.labels import Owner, new_run_id

START_DEADLINE_S: Final = 30.0
GONE_DEADLINE_S: Final = 15.0  # for the kernel to end what has been sent SIGKILL
LINE_LIMIT_BYTES: Final = 1 << 20
_DISK_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class Exited:
    """How a process ended; `status` < 0 names the signal that ended it."""

    name: str
    pid: int
    status: int

    def __str__(self) -> str:
        return describe_status(self.status)


def describe_status(status: int) -> str:
    """`exit status 3`, or `killed by SIGKILL`."""
    if status >= 0:
        return f"exit status {status}"
    with contextlib.suppress(ValueError):
        return f"killed by {signal.Signals(-status).name}"
    return f"killed by signal {-status}"


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request without its reply yet. It outlives a cancelled caller, so that a late failure is still taken in."""

    reply: asyncio.Future[dict[str, Any]]
    spawns: str | None


class WardenClient:
    """One warden and the processes it owns. Not thread-safe; belongs to one event loop."""

    def __init__(
        self, process: "subprocess.Popen[bytes]", control: socket.socket, aftermath: Aftermath, lost: asyncio.Event
    ) -> None:
        self._process = process
        self._control = control
        self._ids = itertools.count(1)
        self._asked: dict[int, _Asked] = {}
        self._running: dict[str, asyncio.Future[Exited]] = {}
        self._last: dict[str, Exited] = {}
        self._aftermath = aftermath
        self._lost = lost
        self._ending = False  # it has been asked to end, or let go
        self._leftovers: asyncio.Future[list[int]] | None = None  # ending what a killed warden has left
        self._owner: Owner | None = None
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, log: Path, *, lost: asyncio.Event | None = None) -> Self:
        """Start a warden, whose own complaints go to `log`. Raises EnvironmentFailure if it cannot run.

        `lost` is set if it ends unasked; what it has left is being ended then, and `shutdown` sees to the rest.
        """
        ours, theirs = socket.socketpair()
        aftermath = Aftermath(new_run_id(), log)
        with theirs:
            try:
                process = _start_process(theirs, log, aftermath.run_id)
            except OSError as error:
                ours.close()
                raise _failure("the warden", "log" if error.filename == str(log) else "exec", error, log) from error
        ours.settimeout(0)
        client = cls(process, ours, aftermath, lost or asyncio.Event())
        reader, client._writer = await asyncio.open_unix_connection(sock=ours, limit=LINE_LIMIT_BYTES)
        client._reading = asyncio.create_task(client._read(reader), name="warden")
        try:
            async with asyncio.timeout(START_DEADLINE_S):
                await client._ready
        except TimeoutError:
            client.kill()
            raise EnvironmentFailure(f"the warden did not start within {START_DEADLINE_S:g} s; see {log}") from None
        except BaseException:
            client._writer.close()  # it sees EOF and ends
            raise
        return client

    @property
    def pid(self) -> int:
        """The warden's own pid."""
        return self._process.pid

    @property
    def run_id(self) -> str:
        """The run's, as its processes bear it."""
        return self._aftermath.run_id

    @property
    def owner(self) -> Owner:
        """The warden, as its processes name it."""
        if self._owner is None:
            raise HarnessError("a warden that is not ready owns nothing")
        return self._owner

    def running(self, name: str) -> bool:
        """Whether a process of this name has been started and no exit has been told."""
        return name in self._running

    def last_exit(self, name: str) -> Exited | None:
        """How the last process of this name ended; None while its first one runs."""
        return self._last.get(name)

    async def spawn(
        self,
        name: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        log: Path,
        groups: Sequence[Path] = (),
    ) -> int:
        """Start a process, in these cgroups from before it is executed; returns its pid once it has been.

        Raises EnvironmentFailure where there is no such program or folder, the log cannot be written, or the machine
        has no room for one more process.
        """
        if name in self._running:
            raise HarnessError(f"{name} runs already")
        told = {"argv": list(argv), "shown": list(map(hide_word, argv)), "env": dict(env)}
        request = {"name": name, **told, **_places(cwd, log), "groups": list(map(str, groups))}
        self._running[name] = asyncio.get_running_loop().create_future()  # before the exit can be told
        reply = await self._ask("spawn", request, spawns=name)
        if "error" in reply:
            told = reply["error"]
            error = OSError(told["errno"], told["strerror"], told["filename"])
            if error.errno == errno.ENOENT and _not_on_path(argv[0], env):
                raise EnvironmentFailure(
                    f"{name} cannot be started: there is no program {argv[0]!r} on PATH",
                    hint="install it, or correct argv",
                )
            raise _failure(f"{name} ({argv[0]})", told["what"], error, log, cwd)
        return int(reply["pid"])

    async def signal(self, name: str, signum: int) -> None:
        """Send a signal to the process and its group. Raises EnvironmentFailure if it is gone."""
        reply = await self._ask("signal", {"name": name, "signum": int(signum)})
        if "error" in reply:
            ended = f" ({self._last[name]})" if name in self._last else ""
            raise EnvironmentFailure(
                f"{name} cannot be sent {signal.Signals(signum).name}: it runs no more{ended}"
                if reply["error"]["errno"] == errno.ESRCH
                else f"{name} cannot be sent {signal.Signals(signum).name}: {reply['error']['strerror']}"
            )

    async def own(self, folder: Path) -> None:
        """Have the warden remove this folder when every process has ended, whatever becomes of us."""
        request = _own(folder)
        self._aftermath.folders.append(request["path"])
        await self._ask("own", request)

    async def at_end(self, argv: Sequence[str], env: Mapping[str, str]) -> None:
        """Have the warden run this when every process has ended, whatever becomes of us; it starts in the root folder.

        Commands run in turn, the last one told first; each is killed after `warden.AT_END_S`.
        """
        self._aftermath.will_run(argv, env)
        await self._ask("at_end", {"argv": list(argv), "env": dict(env)})

    async def wait_exit(self, name: str) -> Exited:
        """How the process ends, or has ended. Raises EnvironmentFailure if the warden is lost first."""
        running = self._running.get(name)
        if running is not None:
            return await asyncio.shield(running)
        if name in self._last:
            return self._last[name]
        raise HarnessError(f"{name} was never started")

    async def detach(self) -> None:
        """From here on the processes outlive us; SIGTERM to the warden ends them. Closes the connection."""
        await self._ask("detach", {})
        self._ending = True
        await self._disconnect()
        self._process.returncode = 0  # not ours to wait for any more

    async def shutdown(self, grace_s: float) -> None:
        """SIGTERM to everything, SIGKILL after the grace; returns when it is gone. Safe to call twice.

        What a warden that was killed has left undone is done here. Raises EnvironmentFailure if something cannot be
        ended, naming it.
        """
        if self._reading is not None and not self._reading.done():
            self._ending = True
            with contextlib.suppress(EnvironmentFailure, ConnectionError):
                await self._write({"op": "shutdown", "grace_s": grace_s})
            at_end_s = warden.AT_END_S * len(self._aftermath.commands)
            await asyncio.wait([self._reading], timeout=grace_s + GONE_DEADLINE_S + at_end_s)
        await self._disconnect()
        await self._gone(GONE_DEADLINE_S)

    def kill(self) -> None:
        """SIGKILL to the warden: the kernel ends its children. The last resort."""
        self._process.kill()

    async def _gone(self, deadline_s: float) -> None:
        end = asyncio.get_running_loop().time() + deadline_s
        while (status := self._status()) is None:
            if asyncio.get_running_loop().time() >= end:
                left = ", ".join(map(str, warden.descendants(self.pid)))
                self.kill()  # should it be the warden itself that hangs, the kernel ends its children now
                await self._clear_up()
                raise _endless(left or str(self.pid))
            await asyncio.sleep(0.01)
        if status != 0:
            await self._clear_up()
        self._process.wait()

    def _status(self) -> int | None:
        """How the warden ended. It is not waited for yet, so that its number, its session's too, stays its own."""
        if self._process.returncode is not None:
            return 0  # all that there was to do has been done
        if not hasattr(os, "waitid"):
            return self._process.poll()
        ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return None if ended is None else ended.si_status

    async def _clear_up(self) -> None:
        """In place of a warden that was killed; a Ctrl-C has to wait for it, as nobody else does it."""

        async def work() -> list[int]:
            left = await (self._leftovers or self._end_leftovers())
            await asyncio.to_thread(self._aftermath.clear_up)
            return left

        working = asyncio.ensure_future(work())
        try:
            left = await asyncio.shield(working)
        except asyncio.CancelledError:
            await working
            raise
        if left:
            raise _endless(", ".join(map(str, left)))

    def _end_leftovers(self) -> asyncio.Future[list[int]]:
        return asyncio.ensure_future(asyncio.to_thread(self._aftermath.end_processes, self.pid))

    async def _disconnect(self) -> None:
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()
        if self._reading is not None:
            await asyncio.wait([self._reading])

    async def _ask(self, op: str, arguments: dict[str, Any], *, spawns: str | None = None) -> dict[str, Any]:
        asked = _Asked(asyncio.get_running_loop().create_future(), spawns)
        number = next(self._ids)
        self._asked[number] = asked
        try:
            await self._write({"id": number, "op": op, **arguments})
        except EnvironmentFailure:
            self._forget(number)
            raise
        return await asyncio.shield(asked.reply)

    def _forget(self, number: int) -> None:
        """The request `number` came to nothing."""
        asked = self._asked.pop(number, None)
        if asked is not None and asked.spawns is not None:
            self._running.pop(asked.spawns, None)

    async def _write(self, message: dict[str, Any]) -> None:
        if self._writer is None or self._reading is None or self._reading.done():
            raise lost_warden()
        self._writer.write(json.dumps(message).encode() + b"\n")
        try:
            await self._writer.drain()
        except ConnectionError as error:
            raise lost_warden() from error

    async def _read(self, reader: asyncio.StreamReader) -> None:
        """Take in what the warden says until it closes, then fail whoever still waits."""
        try:
            while line := await reader.readline():
                self._take(json.loads(line))
        except ConnectionError:
            pass  # the warden was killed: the same as EOF, told below
        finally:
            waiting: list[asyncio.Future[Any]] = [self._ready, *self._running.values()]
            for future in (*waiting, *(asked.reply for asked in self._asked.values())):
                if not future.done():
                    future.set_exception(lost_warden())
                    future.exception()  # not every one is awaited
            self._asked.clear()
            self._running.clear()
        if not self._ending:
            self._leftovers = self._end_leftovers()
            self._lost.set()

    def _take(self, message: dict[str, Any]) -> None:
        if "exit" in message:
            exited = Exited(message["exit"], message["pid"], message["status"])
            self._last[exited.name] = exited
            self._running.pop(exited.name).set_result(exited)
        elif "ready" in message:
            self._owner = Owner.parse(message["owner"])
            self._ready.set_result(None)
        else:
            asked = self._asked[message["id"]]
            if "error" in message:
                self._forget(message["id"])
            self._asked.pop(message["id"], None)
            asked.reply.set_result(message)


def _start_process(control: socket.socket, log: Path, run_id: str) -> "subprocess.Popen[bytes]":
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        return subprocess.Popen(
            # -I and -S: nothing from this environment, no site-packages, a quick start
            [sys.executable, "-I", "-S", warden.__file__, str(control.fileno())],
            env={**{k: v for k, v in os.environ.items() if k != warden.OWNER_VARIABLE}, warden.RUN_VARIABLE: run_id},
            stdin=subprocess.DEVNULL,
            stdout=fd,
            stderr=fd,
            cwd="/",
            pass_fds=[control.fileno()],
            start_new_session=True,
        )
    finally:
        os.close(fd)


def _places(cwd: Path, log: Path) -> dict[str, str]:
    """Absolute, because the warden's own working directory is the root."""
    return {"cwd": str(cwd.absolute()), "log": str(log.absolute())}


def _own(folder: Path) -> dict[str, str]:
    """Absolute, as above."""
    return {"path": str(folder.absolute())}


def lost_warden() -> EnvironmentFailure:
    """That it ended unasked, as a sentence."""
    return EnvironmentFailure(
        "the warden, which owns every process of the run, has ended before its time; all of them are ended with it",
        hint="its log is warden.log in the run directory's nodes/; the kernel's log says if memory ran out",
    )


def _not_on_path(program: str, env: Mapping[str, str]) -> bool:
    """Whether a program that is given by its mere name cannot be found by it."""
    return os.sep not in program and shutil.which(program, path=env.get("PATH")) is None


def _endless(pids: str) -> EnvironmentFailure:
    return EnvironmentFailure(
        f"some processes do not end: {pids}",
        hint="a process in state D waits for a device; look at it with `ps -o pid,state,wchan,cmd`",
    )


def _failure(who: str, what: str, error: OSError, log: Path, cwd: Path | None = None) -> EnvironmentFailure:
    """The sentence for a start that failed; `what` is the warden's step."""
    reason = error.strerror or str(error)
    if error.errno in _DISK_FULL:
        return EnvironmentFailure(
            f"the disk is full: {who} cannot be started, as {log} cannot be written",
            hint="free some space there, or put the run elsewhere with --out",
        )
    if what == "cgroup":
        return EnvironmentFailure(f"{who} cannot enter its cgroup {error.filename}: {reason}")
    if what == "log":
        return EnvironmentFailure(
            f"{who} cannot be started: its log {log} cannot be written ({reason})",
            hint="give a writable run directory with --out",
        )
    if error.errno in (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE):
        return EnvironmentFailure(
            f"{who} cannot be started: {reason}", hint="see `ulimit -u`, `ulimit -n` and free memory"
        )
    if cwd is not None and error.filename == str(cwd.absolute()):
        return EnvironmentFailure(f"{who} cannot be started: its folder {cwd} is not accessible ({reason})")
    hints = {
        errno.ENOENT: "install it or correct argv; for a script, see that the program its #! line names exists",
        errno.EACCES: "make it executable with chmod +x, or name its interpreter in argv",
        errno.ENOEXEC: "it lacks a #! line, or was built for another kind of machine",
    }
    return EnvironmentFailure(f"{who} cannot be started: {reason}", hint=hints.get(error.errno or 0))
