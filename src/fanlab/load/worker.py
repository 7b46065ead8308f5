"""A Locust worker: `python -m fanlab.load.worker --config F --control SOCKET --index N`.

Its users give orders, its engines (child processes without gevent) do the work; what engines tell goes to the master.
"""

import argparse
import logging
import os
import socket
import sys
from pathlib import Path
from typing import Any

import gevent
import locust.runners
from gevent import subprocess
from gevent.event import Event
from gevent.lock import RLock
from locust.env import Environment

from fanlab.load.config import LoadConfig, read_config
from fanlab.load.lifeline import Lifeline, dial
from fanlab.load.locust_stats import log_message
from fanlab.load.users import ORDER, ORDINALS, TOLD, Ordinals, client_classes, equip, publisher_classes
from fanlab.load.wire import Message

REPORT_S = 1.0
END_S = 10.0


class Worker:
    """One Locust worker with its engines."""

    def __init__(self, config: LoadConfig, config_path: Path, parent: Lifeline, index: int) -> None:
        self._config = config
        self._config_path = config_path
        self._index = index
        self._parent = parent
        self._engines: dict[str, Lifeline] = {}
        self._ended: set[str] = set()
        self._processes: dict[str, Any] = {}
        self._epoch: Message | None = None
        self._early: list[Message] = []
        self._starting = RLock()
        self._classes = [*client_classes(config), *publisher_classes(config)]
        self._environment = Environment(user_classes=self._classes)
        self._ordinals = Ordinals(self._ask_ordinals)
        equip(self._classes, self.order, self._ordinals)
        self._runner: Any = None
        self.over = Event()

    def start_engines(self, workers: int) -> None:
        """Start those that are sure to be needed, while Locust's master is still starting."""
        if self._config.client_count >= workers:
            self._engine("clients")
        if self._config.stream_count >= workers:
            self._engine("publishers")

    def join_master(self, port: int) -> None:
        """Connect to Locust's master. What engines told before is not lost: it waits for the runner."""
        locust.runners.WORKER_REPORT_INTERVAL = REPORT_S
        self._runner = self._environment.create_worker_runner("127.0.0.1", port)
        self._runner.register_message(ORDINALS, self._on_ordinals)
        self._runner.register_message(ORDER, self._on_order)
        events: Any = self._environment.events
        events.test_stop.add_listener(self._on_test_stop)
        for message in self._early:
            self._runner.send_message(TOLD, message)
        self._runner.greenlet.join()  # until the master says quit
        self.over.set()

    def order(self, role: str, message: dict[str, Any]) -> None:
        """Tell an engine something; the first order starts it."""
        self._engine(role).tell(message)

    def end_engines(self) -> None:
        """Let every engine end in order, and wait for it."""
        for engine in self._engines.values():
            engine.tell({"op": "finish"})
        for process in self._processes.values():
            process.wait(timeout=END_S)

    def _engine(self, role: str) -> Lifeline:
        with self._starting:  # starting a process lets other greenlets run, and each role has one engine
            if role not in self._engines:
                self._start(role)
        return self._engines[role]

    def _start(self, role: str) -> None:
        ours, theirs = socket.socketpair()
        argv = [sys.executable, "-m", "fanlab.load.engine", "--role", role, "--config", str(self._config_path)]
        argv += ["--worker", str(self._index), "--fd", str(theirs.fileno())]
        self._processes[role] = subprocess.Popen(argv, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        theirs.close()
        engine = Lifeline(ours)
        self._engines[role] = engine
        engine.listen(lambda message: self._on_engine(role, message), lambda: self._on_engine_end(role))
        if self._epoch is not None:
            engine.tell(self._epoch)

    def _on_engine(self, role: str, message: Message) -> None:
        if message["ev"] == "batch":
            log_message(self._environment.stats, message)
        elif message["ev"] == "ended":
            self._ended.add(role)
        told = {"worker": self._index, "role": role, **message}
        if self._runner is None:
            self._early.append(told)
        else:
            self._runner.send_message(TOLD, told)

    def _on_engine_end(self, role: str) -> None:
        if role not in self._ended:
            code = self._processes[role].wait(timeout=END_S)
            self._parent.tell({"ev": "engine-died", "worker": self._index, "role": role, "code": code})

    def _ask_ordinals(self, class_name: str, count: int) -> None:
        self._runner.send_message(ORDINALS, {"class": class_name, "count": count})

    def _on_ordinals(self, environment: Environment, msg: Any) -> None:  # noqa: ARG002 - Locust calls by name
        self._ordinals.answered(msg.data["class"], msg.data["first"], msg.data["count"])

    def _on_order(self, environment: Environment, msg: Any) -> None:  # noqa: ARG002 - Locust calls by name
        self._epoch = msg.data
        for engine in self._engines.values():
            engine.tell(msg.data)

    def _on_test_stop(self, environment: Environment) -> None:  # noqa: ARG002 - Locust calls by name
        gevent.spawn(self.end_engines)


def main() -> int:
    """Work until the master or the parent says that it is over."""
    parser = argparse.ArgumentParser(description="One of fanlab's Locust workers; the run starts it.")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--control", type=Path, required=True)
    parser.add_argument("--index", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    parent = dial(arguments.control)
    config = read_config(arguments.config)
    worker = Worker(config, arguments.config, parent, arguments.index)

    def obey(message: Message) -> None:
        if message["op"] == "master":
            gevent.spawn(worker.join_master, int(message["port"]))
        else:
            worker.over.set()

    parent.listen(obey, worker.over.set)
    parent.tell({"ev": "hello", "role": "worker", "index": arguments.index, "pid": os.getpid()})
    worker.start_engines(arguments.workers)
    worker.over.wait()
    worker.end_engines()
    parent.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
