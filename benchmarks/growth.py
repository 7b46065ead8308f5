"""How does cost grow? With clients, messages, channels, nodes and loss, each alone: of the account, of the generator.

    .venv/bin/python benchmarks/growth.py --check        # writes reports/growth.json and reports/growth.svg

The account is measured on journals that are made up, so that sizes are exact and large: CPU time and memory of
`ledger.account` in a process of its own. The generator is measured in whole runs: CPU of the engines and of Locust, per
delivery, as summary.json has it.

Told is the exponent of growth over an axis' last step, where what is fixed hides least: 1 is linear, 2 quadratic; of a
cost per delivery that stays the same it is 0. With --check the exit code is 1 where the account's is more than 1.2, or
that of the generator's cost per delivery more than 0.5.
"""

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from made_up import Size, make

from fanlab.ledger.account import account
from fanlab.rundir import RunDir

ROOT = Path(__file__).resolve().parents[1]
MOST = {"account": 1.2, "generator": 0.5}
BASE = Size(clients=1000, messages=1000)
ACCOUNT: dict[str, list[tuple[float, Size]]] = {
    "clients": [(n, replace(BASE, clients=n)) for n in (500, 1000, 2000, 4000, 8000)],
    "messages": [(n, replace(BASE, messages=n)) for n in (500, 1000, 2000, 4000, 8000)],
    "nodes": [(n, replace(BASE, nodes=n)) for n in (1, 4, 16, 64)],
    "channels": [(n, Size(10_000, 100 * n, n)) for n in (10, 100, 1000, 10_000)],
    "channels of a client": [(n, Size(1000, 10_000, 1000, n)) for n in (1, 10, 100, 1000)],
    "share lost": [(share, replace(BASE, clients=4000, lost=share)) for share in (0.01, 0.1, 1.0)],
}
PER_S = 10_000  # deliveries


@dataclass(frozen=True, slots=True)
class Shape:
    """A run, whose deliveries per second are spread evenly over the channels that somebody listens to."""

    clients: int = 200
    nodes: int = 1
    channels: int = 1
    per_client: int = 1
    per_s: int = PER_S


GENERATOR: dict[str, list[tuple[float, Shape]]] = {
    "clients": [(n, Shape(clients=n)) for n in (100, 400, 1600)],
    "nodes": [(n, Shape(nodes=n)) for n in (1, 2, 4, 8)],
    "deliveries per second": [(n, Shape(per_s=n)) for n in (2_500, 5_000, 10_000, 20_000)],
    "channels": [(n, Shape(channels=n)) for n in (1, 10, 100, 1000, 10_000)],
    "channels of a client": [(n, Shape(channels=1000, per_client=n)) for n in (1, 10, 100, 1000)],
}


@dataclass(frozen=True, slots=True)
class Point:
    """One size and what it cost."""

    size: float
    cost: float  # account: CPU s; generator: CPU µs per delivery
    peak_mb: float | None = None
    deliveries: int = 0


def main() -> None:
    """Parent: all axes. Child (`--run DIR`): one account."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="*", default=sorted(MOST), choices=sorted(MOST))
    parser.add_argument("--axes", nargs="*", help="only these")
    parser.add_argument("--points", type=int, default=9, help="of each axis: the first so many")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each of the generator's runs")
    parser.add_argument("--rounds", type=int, default=3, help="the least cost of so many counts")
    parser.add_argument("--check", action="store_true", help="exit with 1 where something grows too fast")
    parser.add_argument("--out", type=Path, default=ROOT / "reports" / "growth.json")
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        print(json.dumps(account_once(arguments.run)))
        return
    found: dict[str, dict[str, list[Point]]] = {}
    for part in arguments.parts:
        axes: dict[str, Any] = ACCOUNT if part == "account" else GENERATOR
        for axis, points in axes.items():
            if arguments.axes and axis not in arguments.axes:
                continue
            measured = [one_point(part, size, shape, arguments) for size, shape in points[: arguments.points]]
            found.setdefault(part, {})[axis] = measured
            print(f"{part}, {axis}: exponent {exponent(measured):.2f}", file=sys.stderr, flush=True)
    print("\n".join(table(found)))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    document = {
        part: {
            axis: {"exponent": exponent(points), "points": [asdict(one) for one in points]}
            for axis, points in of.items()
        }
        for part, of in found.items()
    }
    arguments.out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    # Only here: in the children, which measure an account each, matplotlib would count as its memory.
    from growthchart import draw

    draw(found, arguments.out.with_suffix(".svg"))
    if arguments.check and (grown := too_fast(found)):
        raise SystemExit(f"grows too fast: {'; '.join(grown)}")


def too_fast(found: dict[str, dict[str, list[Point]]]) -> list[str]:
    """What grows by more than MOST."""
    return [
        f"{part}, {axis}" for part, of in found.items() for axis, points in of.items() if exponent(points) > MOST[part]
    ]


def exponent(points: Sequence[Point]) -> float:
    """Of the growth over the last step."""
    if len(points) < 2:
        return 0.0
    before, last = points[-2:]
    return math.log(last.cost / before.cost) / math.log(last.size / before.size)


def one_point(part: str, size: float, shape: Any, arguments: argparse.Namespace) -> Point:
    """The least of some rounds: whatever else the machine does only adds."""
    with tempfile.TemporaryDirectory(prefix="fanlab-") as temporary:
        if part == "account":
            rundir = RunDir(Path(temporary) / "run")
            rundir.create()
            with get_context("spawn").Pool(1) as pool:  # a process's peak includes that of the one it was forked from
                pool.apply(make, (rundir, shape))
            argv = [sys.executable, __file__, "--run", str(rundir.path)]
            told = [json.loads(subprocess.check_output(argv, text=True)) for _ in range(arguments.rounds)]
            best = min(told, key=lambda one: float(one["cpu_s"]))
            return Point(size, best["cpu_s"], best["peak_mb"], best["deliveries"])
        rounds = [
            generator(Path(temporary) / str(number), shape, arguments.seconds) for number in range(arguments.rounds)
        ]
        cost, deliveries = min(rounds)
        return Point(size, cost, deliveries=deliveries)


def account_once(path: Path) -> dict[str, float]:
    """What the account of that run cost this process."""
    began = time.process_time()
    found = account(RunDir(path))
    spent = time.process_time() - began
    if not found.measure.balanced:
        raise SystemExit(f"the account does not balance: {found.measure}")
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    return {"cpu_s": spent, "peak_mb": peak_mb, "deliveries": found.measure.delivered}


def generator(folder: Path, shape: Shape, seconds: float) -> tuple[float, int]:
    """CPU of a run's generator in µs per delivery, and how many there were."""
    folder.mkdir()
    names = [f"c{number}" for number in range(shape.channels)]
    groups = min(shape.clients, shape.channels // shape.per_client, 50)
    of_group = [names[group * shape.per_client :][: shape.per_client] for group in range(groups)]
    rate = shape.per_s / shape.clients / shape.per_client
    scenario = {
        "name": "growth",
        "question": "What does it cost?",
        "topology": {
            "nodes": {"kind": "picows", "count": shape.nodes, "env": {"MAX_CHANNELS": str(max(100, shape.per_client))}}
        },
        "channels": names,
        "clients": [
            {"group": f"g{number}", "count": shape.clients // groups, "spawn_rate": "500/s", "channels": own}
            for number, own in enumerate(of_group)
        ],
        "publishers": [
            {"name": f"p-{name}", "channel": name, "rate": {"kind": "poisson", "rate": f"{rate:.6g}/s"}}
            for own in of_group
            for name in own
        ],
        "phases": {"warm_up": "1s", "measure": f"{seconds:g}s", "drain": {"quiet": "1s", "deadline": "20s"}},
        "limits": {"schedule_lag_p99": "10s", "loop_lag_p99": "10s", "bias_p99": "10s", "cpu": 1.0, "steal": 1.0},
    }
    path = folder / "growth.yaml"
    path.write_text(json.dumps(scenario), encoding="utf-8")
    argv = [sys.executable, "-m", "fanlab", "run", str(path), "--out", str(folder / "run"), "--no-progress"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if not (folder / "run" / "summary.json").exists():
        raise SystemExit(f"a run came to nothing:\n{done.stdout}{done.stderr}")
    summary = json.loads((folder / "run" / "summary.json").read_text())
    delivered = summary["ledger"]["delivered"]
    if not delivered:
        raise SystemExit(f"a run delivered nothing: {shape}")
    return summary["generator"]["cpu"] * seconds * 1e6 / delivered, delivered


def table(found: dict[str, dict[str, list[Point]]]) -> list[str]:
    """All as Markdown."""
    lines = [
        "| of | grows | from | to | cost from | to | exponent |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for part, axes in found.items():
        unit = "s" if part == "account" else "µs"
        for axis, points in axes.items():
            first, last = points[0], points[-1]
            cells = [
                part,
                axis,
                f"{first.size:,g}",
                f"{last.size:,g}",
                f"{first.cost:.3g} {unit}",
                f"{last.cost:.3g} {unit}",
            ]
            lines.append(f"| {' | '.join(cells)} | {exponent(points):.2f} |")
    return lines


if __name__ == "__main__":
    main()
