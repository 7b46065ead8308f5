"""The Locust master: `python -m fanlab.load.master --config F --control SOCKET`. It decides who starts when.

It listens where it is told, on 127.0.0.1 or a network of the run's own, and has no web page. The parent's orders are
`spawn`, `begin`, `leave` and `quit`.
"""

import argparse
import csv
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gevent
import locust.runners
from gevent.event import Event
from locust import User
from locust.env import Environment
from locust.stats import PERCENTILES_TO_REPORT, StatsCSV, StatsCSVFileWriter, stats_printer

from fanlab.clock import NS_PER_S, now_ns
from fanlab.load.config import LoadConfig, read_config
from fanlab.load.lifeline import Lifeline, dial
from fanlab.load.users import (
    ORDER,
    TOLD,
    SmoothDispatcher,
    client_classes,
    hand_out_ordinals,
    publisher_classes,
)
from fanlab.load.wire import CONFIGURED, Message

PUBLISHERS_PER_S = 1000.0
HEARTBEATS = 60  # seconds without one, as many as a worker allows its master


class Master:
    """Locust's master runner, told what to do by fanlab's parent process."""

    def __init__(self, config: LoadConfig, parent: Lifeline, host: str) -> None:
        self._config = config
        self._parent = parent
        self._clients = client_classes(config)
        self._publishers = publisher_classes(config)
        self._environment = Environment(
            user_classes=[*self._clients, *self._publishers], dispatcher_class=SmoothDispatcher
        )
        # A stalled worker is not a dead one: the parent's lines tell, at once. Locust would stop the test after 3 s.
        locust.runners.HEARTBEAT_LIVENESS = HEARTBEATS
        self.runner = self._environment.create_master_runner(host, 0)
        self.port = int(self.runner.server.port)
        self._spawned = 0
        self.over = Event()
        hand_out_ordinals(self.runner)
        self.runner.register_message(TOLD, self._on_told)
        events: Any = self._environment.events
        events.worker_connect.add_listener(self._on_worker)
        self._csv: Any = StatsCSVFileWriter(self._environment, PERCENTILES_TO_REPORT, config.stats, full_history=True)
        self._csv_writing = gevent.spawn(self._csv)
        gevent.spawn(stats_printer(self._environment.stats))

    def obey(self, message: Message) -> None:
        """An order of the parent."""
        match message["op"]:
            case "spawn":
                gevent.spawn(self._spawn_first)
            case "begin":
                epoch = {**message, "op": "epoch"}
                self.runner.send_message(ORDER, epoch)
                gevent.spawn(self._spawn_later, int(message["zero_ns"]))
            case "leave":
                gevent.spawn(self.runner.stop)
            case "quit":
                self.over.set()

    def quit(self) -> None:
        """Collect the workers' last statistics and write the CSV files a last time."""
        self.runner.quit()
        self._csv_writing.kill()
        self._csv.close_files()
        with Path(f"{self._config.stats}_stats.csv").open("w", encoding="utf-8", newline="") as file:
            StatsCSV(self._environment, PERCENTILES_TO_REPORT).requests_csv(csv.writer(file))

    def _spawn_first(self) -> None:
        """Groups in the order of the scenario, each at its own rate, then the publishers."""
        self._spawn([(cls, g.count, g.spawn_rate_per_s) for cls, g in self._groups() if g.join_ns is None])
        self._spawn([(cls, self._config.stream_count, PUBLISHERS_PER_S) for cls in self._publishers])
        self._parent.tell({"ev": "spawned"})

    def _spawn_later(self, zero_ns: int) -> None:
        """Groups that join at a time. One at a time: a group waits until the one before it is complete."""
        joining = [(g.join_ns, cls, g) for cls, g in self._groups() if g.join_ns is not None]
        for join_ns, cls, group in sorted(joining, key=lambda entry: entry[0]):
            gevent.sleep(max(0, zero_ns + join_ns - now_ns()) / NS_PER_S)
            self._spawn([(cls, group.count, group.spawn_rate_per_s)])

    def _spawn(self, entries: Sequence[tuple[type[User], int, float]]) -> None:
        for cls, count, rate_per_s in entries:
            self._spawned += count
            self.runner.start(self._spawned, rate_per_s, user_classes=[cls])

    def _groups(self) -> list[tuple[type[User], Any]]:
        return list(zip(self._clients, self._config.clients, strict=True))

    def _on_worker(self, client_id: str) -> None:
        self._parent.tell({"ev": "worker-connected", "id": client_id})

    def _on_told(self, environment: Environment, msg: Any) -> None:  # noqa: ARG002 - Locust calls by name
        self._parent.tell(msg.data)


def main() -> int:
    """Lead until the parent says that it is over, or is gone."""
    parser = argparse.ArgumentParser(description="fanlab's Locust master; the run starts it.")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--control", type=Path, required=True)
    parser.add_argument("--host", required=True, help="the address to listen on: one that workers alone can reach")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    logging.getLogger("locust.stats_logger").setLevel(logging.INFO)
    parent = dial(arguments.control)
    if not parent.wait_for(str(CONFIGURED["op"])):
        return 0
    master = Master(read_config(arguments.config), parent, arguments.host)
    parent.listen(master.obey, master.over.set)
    parent.tell({"ev": "hello", "role": "master", "port": master.port, "pid": os.getpid()})
    master.over.wait()
    master.quit()
    parent.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
