"""Latency told right: delays injected by a proxy are recovered, and a freeze gives the percentile that theory gives."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from lines import Line
from observe import LENIENT, observe

from fanlab.clock import NS_PER_S

DELAYS_MS = (1, 10, 100, 1000)
ABSOLUTE_MS, SHARE = 0.5, 0.02
FREEZE_S, RATE_PER_S, MEASURE_S, FREEZE_SHARE = 2.0, 200, 10, 0.05


@dataclass(frozen=True, slots=True)
class Delays:
    """One node per delay behind a proxy that holds every frame back for so long, and one that does not."""

    alone: ClassVar[bool] = True
    repeat: int

    @property
    def name(self) -> str:
        """`latency delays #1`."""
        return f"latency delays #{self.repeat}"

    def run(self, out: Path) -> Sequence[Line]:
        """One run, a line per delay: the medians' difference to the node without delay."""
        nodes = [{"kind": "saboteurs/lying-proxy", "env": {"LIE": "none"}}]
        nodes += [
            {"kind": "saboteurs/lying-proxy", "env": {"LIE": "delay", "LIE_DELAY_MS": delay}} for delay in DELAYS_MS
        ]
        scenario = {
            "name": "delays",
            "question": "Are injected delays recovered?",
            "seed": self.repeat,
            "topology": {"nodes": nodes},
            "channels": ["news"],
            "clients": [{"group": "readers", "count": 4 * len(nodes), "channels": ["news"]}],
            "publishers": [{"name": "ticker", "channel": "news", "rate": {"kind": "poisson", "rate": "100/s"}}],
            "phases": {"warm_up": "1s", "measure": "6s", "drain": {"quiet": "2s", "deadline": "30s"}},
            "limits": LENIENT,
        }
        seen = observe(scenario, out)
        by_node = seen.account.latency.by_node
        base_ms = by_node["node-1"].percentile_ms(50)
        lines = []
        for ordinal, delay_ms in enumerate(DELAYS_MS, start=2):
            found_ms = by_node[f"node-{ordinal}"].percentile_ms(50)
            if found_ms is None or base_ms is None:
                lines.append(Line(f"{self.name} {delay_ms} ms", ok=False, told="too few deliveries"))
                continue
            off_ms = found_ms - base_ms - delay_ms
            told = f"{found_ms - base_ms:.3f} ms seen, {off_ms:+.3f} ms"
            near = abs(off_ms) <= max(ABSOLUTE_MS, SHARE * delay_ms)
            lines.append(Line(f"{self.name} {delay_ms} ms", near and seen.agrees, told, seen.agrees))
        return lines


@dataclass(frozen=True, slots=True)
class Freeze:
    """A node frozen for F of T seconds: a message sent x before its end waits x, so p99 is at (F − p99) / T = 1 %."""

    alone: ClassVar[bool] = True
    repeat: int

    @property
    def name(self) -> str:
        """`latency freeze #1`."""
        return f"latency freeze #{self.repeat}"

    def run(self, out: Path) -> Sequence[Line]:
        """One run, one line. F is taken from the fault's stamps: what was frozen, not what was asked for."""
        scenario = {
            "name": "freeze",
            "question": "Does a freeze give the p99 that theory gives?",
            "seed": self.repeat,
            "topology": {"nodes": {"kind": "websockets"}},
            "channels": ["news"],
            "clients": [{"group": "readers", "count": 2, "channels": ["news"], "ping_timeout": "20s"}],
            "publishers": [{"name": "ticker", "channel": "news", "rate": f"{RATE_PER_S}/s"}],
            "phases": {"warm_up": "500ms", "measure": f"{MEASURE_S}s", "drain": {"quiet": "1s", "deadline": "30s"}},
            "faults": [{"kind": "pause", "target": "node-1", "at": "4s", "for": f"{FREEZE_S:g}s"}],
            "limits": LENIENT,
        }
        seen = observe(scenario, out)
        (fault,) = seen.account.faults
        found_ms = seen.account.latency.overall.percentile_ms(99)
        if found_ms is None or fault.confirmed_ns is None or fault.heal_requested_ns is None:
            return [Line(self.name, ok=False, told="the freeze did not take place")]
        frozen_s = (fault.heal_requested_ns - fault.confirmed_ns) / NS_PER_S
        theory_ms = (frozen_s - 0.01 * MEASURE_S) * 1000
        told = f"p99 {found_ms:.0f} ms, theory {theory_ms:.0f} ms, {found_ms / theory_ms - 1:+.1%}"
        near = abs(found_ms / theory_ms - 1) <= FREEZE_SHARE and seen.account.measure.lost == 0
        return [Line(self.name, near and seen.agrees, told, seen.agrees)]


def batches(*, quick: bool) -> list[Delays | Freeze]:
    """Five of each; quick: one of each."""
    repeats = range(1, 2 if quick else 6)
    return [*(Delays(repeat) for repeat in repeats), *(Freeze(repeat) for repeat in repeats)]
