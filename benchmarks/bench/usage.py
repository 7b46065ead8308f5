"""CPU and memory of a process and all that it started, sampled, so that any span of time can be asked for later."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import psutil

EVERY_S = 0.1


@dataclass(slots=True)
class Usage:
    """Samples while used with `with`. `counts` says whose CPU counts, by command line."""

    pid: int
    counts: Callable[[list[str]], bool] = lambda _: True
    times_ns: list[int] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    rss_bytes: list[int] = field(default_factory=list)
    _known: dict[int, tuple[float, bool]] = field(default_factory=dict)  # by pid, its last CPU, and whether it counts
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def cpu_between_s(self, from_ns: int, to_ns: int) -> float:
        """CPU used in a span of time, user and system."""
        ends = np.interp([from_ns, to_ns], self.times_ns, self.cpu_s)
        return float(ends[1] - ends[0])

    def rss_at(self, at_ns: int) -> float:
        """Memory held then."""
        return float(np.interp(at_ns, self.times_ns, self.rss_bytes))

    def _sample(self) -> None:
        while not self._stop.is_set():
            self._look()
            self._stop.wait(EVERY_S)

    def _look(self) -> None:
        rss = 0
        try:
            root = psutil.Process(self.pid)
            processes = [root, *root.children(recursive=True)]
        except psutil.Error:
            return
        for process in processes:
            try:
                used = sum(process.cpu_times()[:2])
                counts = self.counts(process.cmdline())  # each time: it may not have come to its own program yet
                self._known[process.pid] = used, counts
                rss += process.memory_info().rss if counts else 0
            except psutil.Error:
                continue
        self.times_ns.append(time.monotonic_ns())
        self.cpu_s.append(sum(used for used, counts in self._known.values() if counts))
        self.rss_bytes.append(rss)
