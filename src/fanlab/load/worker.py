"""A Locust worker: `python -m fanlab.load.worker --config F --control SOCKET --index N`.

Its users give orders, its engines (child processes without gevent) do the work; what engines tell goes to the master.
"""

import argparse
import logging
import os
import sys
from pathlib import Path
from typing import Any

import gevent
import locust.runners
from gevent.event import Event
from locust.env import Environment

from fanlab.load.config import LoadConfig, read_config
from fanlab.load.counting import CountingRunner
from fanlab.load.engines import Engines
from fanlab.load.lifeline import Lifeline, dial
from fanlab.load.locust_stats import log_message
from fanlab.load.users import ORDER, ORDINALS, TOLD, Ordinals, client_classes, equip, publisher_classes
from fanlab.load.wire import CONFIGURED, Message

REPORT_S = 1.0


class Worker:
    """One Locust worker with its engines."""

    def __init__(
        self, config: LoadConfig, config_path: Path, parent: Lifeline, index: int, clock_ahead_ns: int = 0
    ) -> None:
        self._config = config
        self._index = index
        self._parent = parent
        self.engines = Engines(config_path, index, self._on_engine, self._on_engine_death, clock_ahead_ns)
        self._early: list[Message] = []
        self._classes = [*client_classes(config), *publisher_classes(config)]
        self._environment = Environment(user_classes=self._classes)
        self._ordinals = Ordinals(self._ask_ordinals)
        equip(self._classes, self.engines.order, self._ordinals.take)
        self._runner: Any = None
        self.over = Event()

    def start_engines(self, workers: int) -> None:
        """Start those that are sure to be needed, while Locust's master is still starting."""
        if self._config.client_count >= workers:
            self.engines.start("clients")
        if self._config.stream_count >= workers:
            self.engines.start("publishers")

    def join_master(self, host: str, port: int) -> None:
        """Connect to Locust's master. What engines told before is not lost: it waits for the runner."""
        locust.runners.WORKER_REPORT_INTERVAL = REPORT_S
        self._runner = CountingRunner(self._environment, host, port)
        self._runner.register_message(ORDINALS, self._on_ordinals)
        self._runner.register_message(ORDER, self._on_order)
        events: Any = self._environment.events
        events.test_stop.add_listener(self._on_test_stop)
        for message in self._early:
            self._runner.send_message(TOLD, message)
        self._runner.greenlet.join()  # until the master says quit
        self.over.set()

    def _on_engine(self, role: str, message: Message) -> None:
        if message["ev"] == "batch":
            log_message(self._environment.stats, message)
        told = {"worker": self._index, "role": role, **message}
        # Straight back: each stop on the way would widen a clock's bound, and last words would come after the end.
        if message["ev"] in ("clock", "fatal"):
            self._parent.tell(told)
            return
        if self._runner is None:
            self._early.append(told)
        else:
            self._runner.send_message(TOLD, told)

    def _on_engine_death(self, role: str, code: int) -> None:
        self._parent.tell({"ev": "engine-died", "worker": self._index, "role": role, "code": code})

    def _ask_ordinals(self, class_name: str, count: int) -> None:
        self._runner.send_message(ORDINALS, {"class": class_name, "count": count})

    def _on_ordinals(self, environment: Environment, msg: Any) -> None:  # noqa: ARG002 - Locust calls by name
        self._ordinals.answered(msg.data["class"], msg.data["first"], msg.data["count"])

    def _on_order(self, environment: Environment, msg: Any) -> None:  # noqa: ARG002 - Locust calls by name
        self.engines.begin(msg.data)

    def _on_test_stop(self, environment: Environment) -> None:  # noqa: ARG002 - Locust calls by name
        gevent.spawn(self.engines.end)


def main() -> int:
    """Work until the master or the parent says that it is over."""
    parser = argparse.ArgumentParser(description="One of fanlab's Locust workers; the run starts it.")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--control", type=Path, required=True)
    parser.add_argument("--index", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument(
        "--clock-ahead", type=int, default=0, help="ns by which this boot's clock is ahead of the run's"
    )
    arguments = parser.parse_args()
    gevent.config.track_greenlet_tree = False  # the stack that each was spawned from: Locust stops each user in one
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    parent = dial(arguments.control)
    if not parent.wait_for(str(CONFIGURED["op"])):
        return 0
    config = read_config(arguments.config)
    worker = Worker(config, arguments.config, parent, arguments.index, arguments.clock_ahead)

    def obey(message: Message) -> None:
        if message["op"] == "master":
            gevent.spawn(worker.join_master, str(message["host"]), int(message["port"]))
        elif message["op"] == "clock":
            worker.engines.pass_on(str(message["role"]), message)
        else:
            worker.over.set()

    parent.listen(obey, worker.over.set)
    parent.tell({"ev": "hello", "role": "worker", "index": arguments.index, "pid": os.getpid()})
    worker.start_engines(arguments.workers)
    worker.over.wait()
    worker.engines.end()
    parent.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
