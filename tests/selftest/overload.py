"""A generator that cannot keep up makes the run invalid, with the limits as they are by default."""

import asyncio
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import psutil
from lines import Line
from observe import Stage, observe

WAYS = ("publishers", "clients")
REPEATS = 10
_STOPPED_S, _RUNNING_S = 0.2, 0.05


@dataclass(frozen=True, slots=True)
class Overload:
    """Publishers asked for more than they can send, or a clients engine that gets a fifth of the time it needs."""

    alone: ClassVar[bool] = True
    way: str
    repeat: int

    @property
    def name(self) -> str:
        """`overload publishers #1`."""
        return f"overload {self.way} #{self.repeat}"

    def run(self, out: Path) -> Sequence[Line]:
        """One run, one line."""
        seen = observe(self._scenario(), out, [_throttle] if self.way == "clients" else [])
        reasons = [reason for reason in seen.summary["reasons"] if "generator" in reason]
        ok = seen.summary["verdict"] == "invalid" and bool(reasons) and seen.agrees
        told = f"{seen.summary['verdict']}: {reasons[0] if reasons else 'and nothing said of the generator'}"
        return [Line(self.name, ok, told, seen.agrees)]

    def _scenario(self) -> dict[str, Any]:
        rate = "300k/s" if self.way == "publishers" else "100/s"
        return {
            "name": f"overload-{self.way}",
            "question": "Is it said that the generator could not keep up?",
            "seed": self.repeat,
            "topology": {"nodes": {"kind": "websockets"}},
            "channels": ["news", "idle"],
            "clients": [{"group": "readers", "count": 10, "channels": ["news" if self.way == "clients" else "idle"]}],
            "publishers": [
                {"name": "fire-hose", "channel": "news", "rate": rate},
                {"name": "drip", "channel": "idle", "rate": "20/s"},
            ],
            "phases": {"warm_up": "200ms", "measure": "2s", "drain": {"quiet": "500ms", "deadline": "20s"}},
        }


async def _throttle(stage: Stage) -> None:
    """Stop and continue the clients engine, from time 0 to 2 s."""
    await stage.at(0)
    engines = [
        process
        for process in psutil.Process().children(recursive=True)
        if "--role" in (argv := process.cmdline()) and argv[argv.index("--role") + 1] == "clients"
    ]
    assert engines, "no clients engine is running"
    for _ in range(round(2 / (_STOPPED_S + _RUNNING_S))):
        for signum, seconds in ((signal.SIGSTOP, _STOPPED_S), (signal.SIGCONT, _RUNNING_S)):
            for engine in engines:
                engine.send_signal(signum)
            await asyncio.sleep(seconds)


def batches(*, quick: bool) -> list[Overload]:
    """Ten of each way; quick: one of each."""
    return [Overload(way, repeat) for way in WAYS for repeat in range(1, 2 if quick else REPEATS + 1)]
