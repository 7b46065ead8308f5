"""A Locust process's engines: child processes without gevent, one per role, started when first needed."""

import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gevent import subprocess
from gevent.lock import RLock

from fanlab.load.lifeline import Lifeline
from fanlab.load.wire import Message

END_S = 10.0


class Engines:
    """Starts them, passes orders on, and ends them in order."""

    def __init__(
        self,
        config: Path,
        index: int,
        on_message: Callable[[str, Message], None],
        on_death: Callable[[str, int], None],
        clock_ahead_ns: int = 0,
    ) -> None:
        """`on_message(role, message)` gets what an engine tells, `on_death(role, code)` one that ended unasked.

        `clock_ahead_ns` is by how much this boot's clock is ahead of the run's.
        """
        self._config = config
        self._index = index
        self._clock_ahead_ns = clock_ahead_ns
        self._on_message, self._on_death = on_message, on_death
        self._lines: dict[str, Lifeline] = {}
        self._processes: dict[str, Any] = {}
        self._ended: set[str] = set()
        self._epoch: Message | None = None
        self._starting = RLock()

    def start(self, role: str) -> Lifeline:
        """The engine of that role, started if it was not."""
        with self._starting:  # starting a process lets other greenlets run, and each role has one engine
            if role not in self._lines:
                self._spawn(role)
        return self._lines[role]

    def order(self, role: str, message: dict[str, Any]) -> None:
        """Tell an engine something; the first order starts it."""
        self.start(role).tell(message)

    def pass_on(self, role: str, message: Message) -> None:
        """Tell an engine something, if it has been started."""
        if role in self._lines:
            self._lines[role].tell(message)

    def begin(self, epoch: Message) -> None:
        """Tell all engines the epoch, also those that are started later."""
        self._epoch = epoch
        for line in list(self._lines.values()):
            line.tell(epoch)

    def end(self) -> None:
        """Let every engine end in order, and wait for it; one that does not end is killed."""
        for line in list(self._lines.values()):
            line.tell({"op": "finish"})
        for role, process in list(self._processes.items()):
            try:
                process.wait(timeout=END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                self._on_death(role, process.wait())

    def _spawn(self, role: str) -> None:
        ours, theirs = socket.socketpair()
        argv = [sys.executable, "-m", "fanlab.load.engine", "--role", role, "--config", str(self._config)]
        argv += ["--worker", str(self._index), "--fd", str(theirs.fileno())]
        argv += ["--clock-ahead", str(self._clock_ahead_ns)]
        self._processes[role] = subprocess.Popen(argv, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        theirs.close()
        line = Lifeline(ours)
        self._lines[role] = line
        line.listen(lambda message: self._heard(role, message), lambda: self._hung_up(role))
        if self._epoch is not None:
            line.tell(self._epoch)

    def _heard(self, role: str, message: Message) -> None:
        if message["ev"] == "ended":
            self._ended.add(role)
        self._on_message(role, message)

    def _hung_up(self, role: str) -> None:
        if role not in self._ended:
            self._on_death(role, int(self._processes[role].wait(timeout=END_S)))
