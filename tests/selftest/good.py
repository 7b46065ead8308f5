"""The good node gives no alarm: whatever breaks around it, nothing comes twice, out of order or unexplained."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import yaml
from lines import Line
from observe import LENIENT, observe

from fanlab import resources

SCENARIOS = (
    "steady",
    "two-channels",
    "three-servers",
    "node-crash",
    "rolling-restart",
    "paused-node",
    "redis-pause",
    "small-output-buffer",
    "redis-restart",
    "quickstart",
    "nobody-listening",
    "stale-cache",
)
RUNS = 50


@dataclass(frozen=True, slots=True)
class Good:
    """A bundled scenario, with its own gates and those that hold of all."""

    alone: ClassVar[bool] = False
    scenario: str
    seed: int

    @property
    def name(self) -> str:
        """`good steady seed 3`."""
        return f"good {self.scenario} seed {self.seed}"

    def run(self, out: Path) -> Sequence[Line]:
        """One run, one line."""
        file = resources.find_scenario(self.scenario)
        assert file is not None, self.scenario
        scenario = {**yaml.safe_load(file.read_text(encoding="utf-8")), "seed": self.seed, "limits": LENIENT}
        seen = observe(scenario, out)
        ledger = seen.summary["ledger"]
        unexplained = seen.summary["loss"]["unexplained"]
        told = f"{seen.summary['verdict']}: owed {ledger['owed']}, lost {ledger['lost']}, unexplained {unexplained}"
        if seen.summary["verdict"] != "pass":
            told = "; ".join(seen.summary["reasons"])
        if not seen.agrees:
            told += f"; SQL differs: {seen.disputes[:3]}"
        return [Line(self.name, seen.summary["verdict"] == "pass" and seen.agrees, told, seen.agrees)]


def batches(*, quick: bool) -> list[Good]:
    """50 runs over all scenarios; quick: four."""
    if quick:
        return [Good(name, 1) for name in ("steady", "node-crash", "redis-restart", "stale-cache")]
    return [Good(SCENARIOS[number % len(SCENARIOS)], 1 + number // len(SCENARIOS)) for number in range(RUNS)]
