"""What the run's processes and its Redis used over time, written row by row to samples.csv.

Long form, `t_s,metric,unit,value`, t_s from time 0 of the run:

| metric          | unit                           | value |
| ---             | ---                            | --- |
| cpu             | node, redis, generator process | share of one core since the sample before |
| rss_mb          | the same                       | resident memory, MB |
| redis_buffer_kb | pubsub                         | output buffers of all subscribers (omem) but the witness, kB |
| redis_clients   | redis, pubsub                  | connections in all, and those that subscribe, less the witness |
| channels        | redis                          | channels with a subscriber (PUBSUB CHANNELS) |
| throttled       | node, redis                    | share of the kernel's periods in which its CPU limit held it back |
| steal           | machine                        | share of all CPUs that went to other machines, likewise |
| busy            | machine                        | share of all CPUs that was not idle, whoever used it, likewise |
| numsub          | channel                        | its subscribers (PUBSUB NUMSUB) |
"""

import asyncio
import contextlib
import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

import psutil
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from fanlab import clock
from fanlab.ledger.witnessname import WITNESS_NAME
from fanlab.throttling import Throttled, throttled

EVERY_S = 0.5
LOOK_EVERY = 4  # samples: how often new children are looked for, by a walk over all of the machine's processes
_ANSWER_WITHIN_S = 0.4

Row = tuple[str, str, float]  # metric, unit, value


class Sampler:
    """Samples until it is stopped. What cannot be asked (a dead node, a Redis that is down) leaves a gap, no row."""

    def __init__(
        self,
        path: Path,
        *,
        zero_ns: int,
        redis_url: str,
        channels: Sequence[str],
        pids: Callable[[], Mapping[str, int]],
    ) -> None:
        """`pids` tells the units' main processes at this moment; their children are found here."""
        self._path = path
        self._zero_ns = zero_ns
        self._channels = channels
        self._pids = pids
        self._cpu_before: dict[int, tuple[float, int]] = {}
        self._families: dict[int, list[psutil.Process]] = {}  # by main process: it, and its children as last looked for
        self._looks = 0
        self._throttled_before: dict[int, Throttled] = {}
        self._machine_before: tuple[float, float, float] | None = None  # stolen seconds, idle ones, all
        self._redis = Redis.from_url(
            redis_url,
            decode_responses=True,
            socket_timeout=_ANSWER_WITHIN_S,
            socket_connect_timeout=_ANSWER_WITHIN_S,
            retry=Retry(NoBackoff(), 0),
        )
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="sampler")
        return self

    async def __aexit__(self, *_: object) -> None:
        # Asked, not cancelled: with a timeout set, redis-py awaits through asyncio.wait_for, which on Python 3.11 can
        # swallow a cancellation; the task would then go on sampling for ever.
        self._stopping.set()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
        await self._redis.aclose()

    async def _run(self) -> None:
        with self._path.open("w", newline="", encoding="utf-8", buffering=1) as file:
            writer = csv.writer(file)
            writer.writerow(("t_s", "metric", "unit", "value"))
            due_ns = clock.now_ns()
            while not self._stopping.is_set():
                t_s = (clock.now_ns() - self._zero_ns) / clock.NS_PER_S
                rows = [*self._process_rows(), *self._machine_rows(), *await self._redis_rows()]
                writer.writerows((f"{t_s:.3f}", metric, unit, f"{value:.6g}") for metric, unit, value in rows)
                due_ns = max(due_ns + round(EVERY_S * clock.NS_PER_S), clock.now_ns())
                await self._pause((due_ns - clock.now_ns()) / clock.NS_PER_S)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    def _process_rows(self) -> Iterator[Row]:
        pids = self._pids()
        if self._looks % LOOK_EVERY == 0 or self._families.keys() != set(pids.values()):
            self._families = families_of(pids.values())
        self._looks += 1
        for unit, pid in pids.items():
            for process in self._families[pid]:
                name = unit if process.pid == pid else _child_name(unit, process)
                if name is not None:
                    yield from self._usage(name, process)
            yield from self._held_back(unit, pid)

    def _held_back(self, unit: str, pid: int) -> Iterator[Row]:
        told = throttled(pid)
        if told is None:
            return
        before = self._throttled_before.get(pid)
        self._throttled_before[pid] = told
        if before is not None and told.periods > before.periods:
            share = (told.held_back - before.held_back) / (told.periods - before.periods)
            yield "throttled", unit, min(1.0, max(0.0, share))

    def _machine_rows(self) -> Iterator[Row]:
        times = psutil.cpu_times()
        if not hasattr(times, "steal"):  # not Linux
            return
        all_s, idle_s = sum(times) - times.guest - times.guest_nice, times.idle + getattr(times, "iowait", 0.0)
        before, self._machine_before = self._machine_before, (times.steal, idle_s, all_s)
        if before is not None and all_s > before[2]:
            stolen_s, idle_s, all_s = (now - then for now, then in zip(self._machine_before, before, strict=True))
            yield "steal", "machine", max(0.0, stolen_s / all_s)
            yield "busy", "machine", min(1.0, max(0.0, 1 - idle_s / all_s))

    def _usage(self, unit: str, process: psutil.Process) -> Iterator[Row]:
        try:
            with process.oneshot():
                times = process.cpu_times()
                rss = process.memory_info().rss
        except psutil.Error:
            return
        used_s, now_ns = times.user + times.system, clock.now_ns()
        before = self._cpu_before.get(process.pid)
        self._cpu_before[process.pid] = (used_s, now_ns)
        if before is not None and now_ns > before[1]:
            yield "cpu", unit, max(0.0, (used_s - before[0]) / ((now_ns - before[1]) / clock.NS_PER_S))
        yield "rss_mb", unit, rss / 1e6

    async def _redis_rows(self) -> list[Row]:
        try:
            listed = await self._redis.client_list(_type="pubsub")
            clients = await self._redis.info("clients")
            channels = await self._redis.pubsub_channels()
            numsub = await self._redis.pubsub_numsub(*self._channels)
        except (RedisError, OSError, TimeoutError):
            return []
        subscribers = [client for client in listed if client.get("name") != WITNESS_NAME]
        return [
            ("redis_buffer_kb", "pubsub", sum(int(client.get("omem", 0)) for client in subscribers) / 1e3),
            ("redis_clients", "redis", float(clients["connected_clients"])),
            ("redis_clients", "pubsub", float(len(subscribers))),
            ("channels", "redis", float(len(channels))),
            *(("numsub", str(channel), float(count)) for channel, count in numsub),
        ]


def families_of(pids: Iterable[int]) -> dict[int, list[psutil.Process]]:
    """Each of these processes that is there, and its children, by one walk over the machine's."""
    found: dict[int, list[psutil.Process]] = {pid: [] for pid in pids}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):  # it has just ended
            for one in (process.pid, process.ppid()):
                if one in found:
                    found[one].append(process)
    return found


def _child_name(unit: str, child: psutil.Process) -> str | None:
    """`load-1/clients`: an engine says its role on its command line; anything else is named by its executable.

    None for one that has just ended, a zombie included.
    """
    try:
        argv = child.cmdline()
        role = argv[argv.index("--role") + 1] if "--role" in argv[:-1] else child.name()
    except psutil.Error:
        return None
    return f"{unit}/{role}"
