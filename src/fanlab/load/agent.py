"""`fanlab worker`: one load worker on another host than the run's, and its line home.

To the Locust worker that it starts it is what the run itself is to a local one: it owns the Unix socket of its orders,
and the folder of its journals. It passes lines on, carries Locust's own connection over the run's port, and sends the
journals home when the worker has ended, whatever ended it.
"""

import asyncio
import contextlib
import os
import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import psutil

from fanlab import provenance
from fanlab.clock import NS_PER_S, boot_id, now_ns
from fanlab.errors import EnvironmentFailure, MeasurementError
from fanlab.ledger.clocks import Exchange, best
from fanlab.load.config import config_from_json
from fanlab.load.joining import GREET_S, Incoming, Kind, Refused, join, keep_alive, splice
from fanlab.load.limits import net_namespace, raise_open_files
from fanlab.load.transfer import NotStored, send_file
from fanlab.load.wire import CONFIGURED, LineReader, Message, encode
from fanlab.topology.labels import OWNER_FILE, Marks, Owner
from fanlab.topology.private import own_private_folder
from fanlab.topology.wardenclient import describe_status

WAIT_S: Final = 60.0  # for a run that is not up yet
KNOCK_AGAIN_S: Final = 0.5
ROUNDS: Final = 16  # of comparing clocks
END_S: Final = 20.0  # for the worker, and then for its engines, to end in order
DELIVER_S: Final = 600.0  # for all journals
POLL_S: Final = 0.05
_LOG_BYTES: Final = 1 << 20  # of the worker's own words, that go home
_LOG_LINES: Final = 5
_CONTROL: Final = "control"
_LONGEST_SOCKET: Final = 100  # Linux takes 107 bytes, other systems fewer
_READ_BYTES: Final = 1 << 16


class Agent:
    """One worker's life: `work` joins a run, does as it is told, and returns when its journals are home."""

    def __init__(
        self, master: tuple[str, int], token: str, *, tell: Callable[[str], None], redis_url: str | None = None
    ) -> None:
        """`tell` is what a person hears; `redis_url` goes before the run's."""
        self._master = master
        self._token = token
        self._tell = tell
        self._redis_url = redis_url
        self._index = 0
        self._folder = Path()
        self._marks = Marks.new(Owner.of(os.getpid()))  # nobody outlives us: `fanlab sweep` knows what we leave by them
        self._home: asyncio.StreamWriter | None = None
        self._worker: asyncio.StreamWriter | None = None
        self._early: list[Message] = []  # orders for a worker that is still starting
        self._relay_port = 0
        self._kept: dict[str, str] = {}  # journals that could not go home, and why

    async def work(self) -> None:
        """Raises EnvironmentFailure: it cannot join, or lost the run; MeasurementError: its Locust worker died."""
        facts = _facts(raise_open_files(), own_redis_url=self._redis_url is not None)
        self._folder = await asyncio.to_thread(_private_folder, self._marks)
        try:
            await self._take_part(facts)
        finally:
            self._clean_up()

    async def _take_part(self, facts: dict[str, Any]) -> None:
        incoming, welcome = await self._joined(facts)
        self._index = int(welcome["index"])
        self._tell(f"joined {_shown(self._master)} as load-{self._index}; the run will tell what to do")
        config = await self._told(incoming, "config")
        if config is None:
            self._tell("the run is over before it began")
            return
        ahead_ns = await self._on_the_runs_clock(incoming, same_boot=welcome.get("boot_id") == boot_id())
        await self._work(incoming, config, ahead_ns)

    # Joining

    async def _joined(self, facts: dict[str, Any]) -> tuple[Incoming, Message]:
        deadline_ns = now_ns() + round(WAIT_S * NS_PER_S)
        while True:
            try:
                _, incoming, self._home, welcome = await self._knock("worker", facts)
            except (OSError, TimeoutError) as error:
                if now_ns() >= deadline_ns:
                    raise EnvironmentFailure(
                        f"no run listens at {_shown(self._master)}: {_why(error)}",
                        hint="start it with --expect-workers, and --listen an address that this host reaches",
                    ) from error
                await asyncio.sleep(KNOCK_AGAIN_S)
            else:
                return incoming, welcome

    async def _knock(
        self, kind: Kind, said: dict[str, Any]
    ) -> tuple[asyncio.StreamReader, Incoming, asyncio.StreamWriter, Message]:
        """A connection to the run that has let us in. Raises Refused, OSError, TimeoutError."""
        async with asyncio.timeout(GREET_S):
            reader, writer = await asyncio.open_connection(*self._master)
            try:
                keep_alive(writer)
                incoming = Incoming(reader)
                return reader, incoming, writer, await join(incoming, writer, self._token, kind, said)
            except BaseException:
                writer.close()
                raise

    async def _told(self, incoming: Incoming, op: str) -> Message | None:
        """Wait for that order; None where the run ends first."""
        while (message := await incoming.next()) is not None and message.get("op") != "quit":
            if message.get("op") == op:
                return message
        return None

    async def _on_the_runs_clock(self, incoming: Incoming, *, same_boot: bool) -> int:
        """By how much our clock is ahead of the run's, in ns: as well as some rounds can tell, and 0 on one boot."""
        found: list[Exchange] = []
        for _ in range(ROUNDS):
            t0 = now_ns()
            self._say({"ev": "time"})
            answer = await self._told(incoming, "time")
            if answer is None:
                raise EnvironmentFailure("the run has ended while clocks were compared")
            found.append(Exchange(t0, int(answer["t1"]), int(answer["t2"]), now_ns()))
        span = best(found).span  # of the run's clock less ours
        ahead_ns = 0 if same_boot else -round(span.offset_ns)
        self._say(
            {"ev": "set-up", "clock_ahead_ns": ahead_ns, "clock_bound_ns": 0 if same_boot else round(span.bound_ns)}
        )
        return ahead_ns

    # Working

    async def _work(self, incoming: Incoming, told: Message, ahead_ns: int) -> None:
        control = self._folder / _CONTROL
        async with (
            await asyncio.start_server(self._carry_locust, "127.0.0.1", 0) as relay,
            await asyncio.start_unix_server(self._hear_worker, control),
        ):
            self._relay_port = int(relay.sockets[0].getsockname()[1])
            try:
                process = await self._start_worker(told, control, ahead_ns)
            except (OSError, TypeError, KeyError) as error:  # a full disk; a configuration that is none
                why = f"{type(error).__name__}: {error}"
                self._say({"ev": "fatal", "worker": self._index, "error": why})
                raise EnvironmentFailure(f"the load worker cannot be started: {why}") from error
            orders = asyncio.create_task(self._pass_orders_on(incoming))
            ends = asyncio.create_task(process.wait())
            try:
                await asyncio.wait((orders, ends), return_when=asyncio.FIRST_COMPLETED)
            finally:  # whatever came to its end: the run, the worker, the connection, somebody's patience
                died, lost = ends.done(), orders.done()
                code = await self._ended(process)
                if died and code != 0:
                    self._say({"ev": "worker-died", "worker": self._index, "code": code})
                orders.cancel()
                ends.cancel()
                await asyncio.gather(orders, ends, return_exceptions=True)
                await self._deliver()
        self._judge(code if died else 0, lost=lost)

    async def _start_worker(self, told: Message, control: Path, ahead_ns: int) -> asyncio.subprocess.Process:
        journal, config = self._folder / "journal", self._folder / "load.json"
        journal.mkdir()
        changes = {"journal": str(journal), "stats": ""}
        if self._redis_url is not None:
            changes["redis_url"] = self._redis_url
        config_from_json({**told["config"], **changes}).write(config)
        argv = [sys.executable, "-m", "fanlab.load.worker", "--config", str(config), "--control", str(control)]
        argv += ["--index", str(self._index), "--workers", str(told["workers"]), "--clock-ahead", str(ahead_ns)]
        with self._log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *argv,
                env={**os.environ, **self._marks.env()},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def _pass_orders_on(self, incoming: Incoming) -> None:
        """The run's lines to the worker, until the run hangs up."""
        with contextlib.suppress(ValueError):
            while (message := await incoming.next()) is not None:
                if message.get("op") == "master":
                    message = {**message, "host": "127.0.0.1", "port": self._relay_port}
                if self._worker is None:
                    self._early.append(message)
                else:
                    self._worker.write(encode(message))

    async def _hear_worker(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The worker's lines to the run, until the worker hangs up."""
        self._worker = writer
        for message in (CONFIGURED, *self._early):
            writer.write(encode(message))
        lines = LineReader()
        with contextlib.suppress(OSError):
            while data := await reader.read(_READ_BYTES):
                for message in lines.feed(data):
                    self._say(message)
        writer.close()

    async def _carry_locust(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Locust's own connection, over the run's port."""
        try:
            there, incoming, back, _ = await self._knock("rpc", {"index": self._index})
        except (Refused, OSError, TimeoutError) as error:
            self._tell(f"Locust's master cannot be reached: {_why(error)}")
            writer.close()
            return
        # The master greets as soon as it is reached, so its first bytes may have come with the welcome.
        await splice((reader, writer), (there, back), said_by_other=incoming.rest())

    def _say(self, message: Message) -> None:
        if self._home is not None and not self._home.is_closing():
            self._home.write(encode(message))

    # Ending

    async def _ended(self, process: asyncio.subprocess.Process) -> int:
        """Let the worker and its engines end in order, and kill what does not. Returns the worker's status."""
        if self._worker is not None:
            self._worker.close()  # it takes this for the end of the run
        elif process.returncode is None:
            process.terminate()  # it has not even dialled
        try:
            async with asyncio.timeout(END_S):
                code = await process.wait()
        except TimeoutError:
            process.kill()
            code = await process.wait()
        deadline_ns = now_ns() + round(END_S * NS_PER_S)
        while engines := self._engines():
            if now_ns() > deadline_ns:
                for engine in engines:
                    with contextlib.suppress(psutil.Error):
                        engine.kill()
            await asyncio.sleep(POLL_S)
        return code

    def _engines(self) -> list[psutil.Process]:
        """Its engines that still run, orphaned or not: each was told the name of a file that nobody else has."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.status() != psutil.STATUS_ZOMBIE and str(self._folder / "load.json") in process.cmdline():
                    found.append(process)
        return found

    async def _deliver(self) -> None:
        """Send all journals home, then the log; what cannot go is kept."""
        _cut(self._log)
        files = [*sorted((self._folder / "journal").glob("*.stripe")), self._log]
        try:
            async with asyncio.timeout(DELIVER_S):
                for path in files:
                    await self._send(path)
                self._say({"ev": "home", "kept": self._kept})
                if self._home is not None:
                    with contextlib.suppress(OSError):
                        await self._home.drain()
                    self._home.close()
        except TimeoutError:
            self._kept |= {
                path.name: f"not sent within {DELIVER_S:g} s" for path in files if path.name not in self._kept
            }

    async def _send(self, path: Path) -> None:
        try:
            _, incoming, writer, _ = await self._knock("file", {"index": self._index})
            try:
                await send_file(path, incoming, writer)
            finally:
                writer.close()
        except (NotStored, Refused, OSError, TimeoutError, ValueError) as error:
            self._kept[path.name] = _why(error)

    def _judge(self, code: int, *, lost: bool) -> None:
        """How it went, for whoever started this worker."""
        if self._kept:
            whys = "; ".join(f"{name}: {why}" for name, why in self._kept.items())
            raise EnvironmentFailure(
                f"what this worker has did not go home ({whys}); it is in {self._folder}",
                hint="copy the stripes into journal/ of the run directory, then: fanlab report",
            )
        if code != 0:
            words = "".join(f"\n  | {line}" for line in _last_lines(self._log))
            raise MeasurementError(f"the load worker has died: {describe_status(code)}{words}")
        if lost:
            raise EnvironmentFailure("the run has ended before its time, or the connection to it was lost")
        self._tell("the run is over, and the journals are home")

    def _clean_up(self) -> None:
        """Leave nothing, or what could not go home and no more: the configuration may hold a password.

        What is left is somebody's to fetch, so it is not marked any more as what was left behind.
        """
        if not self._kept:
            shutil.rmtree(self._folder, ignore_errors=True)
            return
        for path in (self._folder / "load.json", self._folder / _CONTROL, self._folder / OWNER_FILE):
            path.unlink(missing_ok=True)

    @property
    def _log(self) -> Path:
        return self._folder / f"load-{self._index}.log"


def _private_folder(marks: Marks) -> Path:
    """A folder of our own, which nobody else can look into. Raises EnvironmentFailure."""
    folder = own_private_folder(marks)
    if len(str(folder / _CONTROL)) > _LONGEST_SOCKET:
        shutil.rmtree(folder)
        raise EnvironmentFailure(
            f"{folder / _CONTROL} is too long a name for a Unix socket",
            hint="set TMPDIR to a folder with a short path",
        )
    return folder


def _facts(connections: int, *, own_redis_url: bool) -> dict[str, Any]:
    """What the run is told of this host."""
    return {
        "host": socket.gethostname(),
        "boot_id": boot_id(),
        "net": net_namespace(),
        "cores": provenance.usable_cores(),
        "connections": connections,
        "versions": provenance.versions(),
        "own_redis_url": own_redis_url,
    }


def _cut(log: Path) -> None:
    """Keep the end of a log that is long."""
    with log.open("r+b") as file:
        if file.seek(0, os.SEEK_END) > _LOG_BYTES:
            file.seek(-_LOG_BYTES, os.SEEK_END)
            end = file.read()
            file.seek(0)
            file.truncate()
            file.write(end)


def _last_lines(log: Path) -> list[str]:
    try:
        return log.read_text("utf-8", "replace").splitlines()[-_LOG_LINES:]
    except OSError:
        return []


def _shown(place: tuple[str, int]) -> str:
    return f"[{place[0]}]:{place[1]}" if ":" in place[0] else f"{place[0]}:{place[1]}"


def _why(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
