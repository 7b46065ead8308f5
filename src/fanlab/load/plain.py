"""For plain `locust -f`: clients and publishers over fanlab's engines, against a system that already runs.

Locust decides how many users there are, and in which of its workers; the engines do the work and feed Locust's
statistics. There is no ledger here: for an account of every message use `fanlab run`.
"""

import logging
import os
import shutil
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import gevent
import locust
from gevent.lock import RLock
from locust.runners import MasterRunner, WorkerRunner

from fanlab.clock import NS_PER_S, now_ns
from fanlab.load.config import Backoff, ClientsConfig, LoadConfig, NodeTarget, PublishersConfig
from fanlab.load.engines import Engines
from fanlab.load.locust_stats import log_message
from fanlab.load.users import ORDINALS, Given, Ordinals, client_classes, equip, hand_out_ordinals, stream_classes
from fanlab.load.wire import Message
from fanlab.scenario.model import AnyRate
from fanlab.topology.labels import Marks, Owner
from fanlab.topology.private import own_private_folder

_ENDLESS_NS = 365 * 24 * 3600 * NS_PER_S
_LEAD_NS = NS_PER_S  # the publishers' engine connects meanwhile
_MOST_CLIENTS = 1_000_000
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Target:
    """What to load, and how: `publishers` per channel, each with `rate`."""

    urls: tuple[str, ...]
    redis_url: str
    channels: tuple[str, ...]
    publishers: int
    rate: AnyRate
    payload_bytes: int
    protocol: str = "json"


def user_classes(target: Target) -> list[type[locust.User]]:
    """Locust user classes for a locustfile: the readers, then one for each publisher."""
    load = _PlainLoad(target)
    readers, publishers = client_classes(load.config), stream_classes(load.config)
    equip(readers, load.order, load.ordinal)
    equip(publishers, load.order, lambda _, given: gevent.spawn(given, 0))  # the only one of its class
    for cls in (*readers, *publishers):
        cls.host = ",".join(target.urls)  # which Locust asks for and shows
    events: Any = locust.events
    events.init.add_listener(load.on_init)
    events.test_stop.add_listener(load.on_test_stop)
    return [*readers, *publishers]


class _PlainLoad:
    """The engines of one Locust process: started by its first users, ended with the test."""

    def __init__(self, target: Target) -> None:
        self.config = _config(target)
        self._environment: Any = None
        self._engines: Engines | None = None
        self._folder: Path | None = None
        self._ordinals: Ordinals | None = None  # in a worker
        self._alone = count()
        self._starting = RLock()

    def ordinal(self, class_name: str, given: Given) -> None:
        """The next client's number, given once over all workers, so that clients are spread evenly over the nodes."""
        if self._ordinals is None:
            gevent.spawn(given, next(self._alone))  # Locust may kill the greenlet that spawns users at any time
        else:
            self._ordinals.take(class_name, given)

    def order(self, role: str, message: dict[str, Any]) -> None:
        """Tell an engine something. A publisher begins when it comes, once its engine is there."""
        with self._starting:
            if self._engines is None:
                self._engines = self._start()
        if message["op"] == "publish":
            message = {**message, "in_ns": _LEAD_NS}
        self._engines.order(role, message)

    def on_init(self, environment: Any, **_: Any) -> None:
        """Locust is ready; its statistics are where deliveries are counted."""
        self._environment = environment
        runner = environment.runner
        if isinstance(runner, MasterRunner):
            hand_out_ordinals(runner)
        elif isinstance(runner, WorkerRunner):
            self._ordinals = ordinals = Ordinals(
                lambda name, wanted: runner.send_message(ORDINALS, {"class": name, "count": wanted})
            )

            def answered(environment: Any, msg: Any) -> None:  # noqa: ARG001 - Locust calls by name
                ordinals.answered(msg.data["class"], msg.data["first"], msg.data["count"])

            runner.register_message(ORDINALS, answered)

    def on_test_stop(self, **_: Any) -> None:
        """Clients leave, and the last figures come in before Locust prints its summary."""
        if self._engines is not None:
            self._engines.end()
            self._engines = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _start(self) -> Engines:
        self._folder = own_private_folder(Marks.new(Owner.of(os.getpid())))
        config = self._folder / "load.json"
        self.config.write(config)
        engines = Engines(config, 1, self._heard, self._died)
        start_ns = now_ns()
        end_ns = start_ns + _ENDLESS_NS
        engines.begin({"op": "epoch", "publish_start_ns": start_ns, "zero_ns": start_ns, "publish_end_ns": end_ns})
        return engines

    def _heard(self, role: str, message: Message) -> None:
        match message["ev"]:
            case "batch":
                log_message(self._environment.stats, message)
            case "fatal":
                _log.error("the %s engine cannot go on: %s", role, message["error"])

    def _died(self, role: str, code: int) -> None:
        _log.error("the %s engine has died (%d); the test is over", role, code)
        self._environment.process_exit_code = 1
        self._environment.runner.quit()


def _config(target: Target) -> LoadConfig:
    readers = ClientsConfig(
        name="readers",
        count=_MOST_CLIENTS,
        first_client=0,
        spawn_rate_per_s=1.0,  # Locust's own option says how fast
        channels=target.channels,
        nodes=tuple(range(len(target.urls))),
        failover="round-robin",
        backoff=Backoff(NS_PER_S // 2, 2.0, 10 * NS_PER_S, 0.2),
        ping_interval_ns=20 * NS_PER_S,
        ping_timeout_ns=20 * NS_PER_S,
        join_ns=None,
    )
    publishers = tuple(
        PublishersConfig(
            name=channel,
            count=target.publishers,
            first_stream=index * target.publishers,
            channel=channel,
            rate=target.rate,
            payload_bytes=target.payload_bytes,
            timeout_ns=5 * NS_PER_S,
        )
        for index, channel in enumerate(target.channels)
        if target.publishers
    )
    return LoadConfig(
        seed=1,
        run_tag=0,
        redis_url=target.redis_url,
        journal="",
        stats="",
        nodes=tuple(NodeTarget(url, target.protocol) for url in target.urls),
        channels=target.channels,
        clients=(readers,),
        publishers=publishers,
    )
