"""`make bench`: what receiving costs fanlab, and what it makes of the truth, beside the peers, on one machine.

Each round has every generator once on the same node, with the same stream: one message to all clients at a fixed rate.
Told are the medians of the rounds; ratios are medians of the ratios within a round, for the machine's moods hit all of
a round alike.

    CPU         of the generator and all that it started (fanlab: Locust, engines, ledger's journals and the run itself,
                but for the publishers), per delivery that it counted
    p50, p99    as it reports them, from the intended time
    bias        how far that is above what an independent client on the same node had, by the kernel's stamps
    memory      more with all clients than with a tenth of them, per connection
    truthful    the highest rate of the ladder at which the p99 that it reports is within 10 % of the independent one
                and every delivery is counted

Writes reports/bench.json, and reports/bench.svg for the README.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

sys.path.insert(0, str(Path(__file__).resolve().parent))

import chart
import peers
from system import System, end_in_order, until
from usage import Usage

ROOT = Path(__file__).resolve().parents[2]
FANLAB = "fanlab"
INDEPENDENT_CLIENTS = 8
PROBES = 4  # fanlab's own
TRUE_WITHIN = 0.10
TICK_S = 0.01  # the kernel's own unit of CPU time: what is less is not seen
DRAIN_NS = 10**9  # who has fallen behind works on for so long
SCENARIO = """
name: bench
question: What does receiving cost?
topology: {{nodes: {{kind: websockets, count: 1}}}}
channels: [news]
clients: [{{group: readers, count: {clients}, spawn_rate: {spawn:g}/s, channels: [news]}}]
publishers: [{{name: ticker, channel: news, rate: {rate:g}/s, payload: 128B}}]
evidence: {{probes: {probes}}}
phases: {{warm_up: 0s, measure: {seconds:g}s, drain: {{quiet: 1s, deadline: 20s}}}}
limits: {{schedule_lag_p99: 10s, loop_lag_p99: 10s, bias_p99: 10s, cpu: 1.0, steal: 1.0}}
"""


@dataclass(frozen=True, slots=True)
class Figures:
    """One generator, one stream."""

    deliveries: int
    expected: int
    cpu_us: float  # per delivery
    p50_ms: float
    p99_ms: float
    true_p50_ms: float  # as the independent client had it
    true_p99_ms: float
    rss_bytes: float

    @property
    def p50_bias(self) -> float:
        """As a share."""
        return self.p50_ms / self.true_p50_ms - 1

    @property
    def p99_bias(self) -> float:
        """As a share."""
        return self.p99_ms / self.true_p99_ms - 1

    @property
    def truthful(self) -> bool:
        """Whether its p99 is true, and its count."""
        return abs(self.p99_bias) <= TRUE_WITHIN and self.deliveries == self.expected


@dataclass(frozen=True, slots=True)
class Shape:
    """What is streamed."""

    clients: int
    rate: float  # messages a second, each to every client
    seconds: float

    @classmethod
    def of(cls, clients: int, per_s: float, seconds: float) -> Self:
        """As many deliveries a second, for about so long: a whole number of messages."""
        rate = per_s / clients
        return cls(clients, rate, max(1, round(rate * seconds)) / rate)

    @property
    def per_s(self) -> float:
        """Deliveries a second."""
        return self.clients * self.rate


def measure(name: str, shape: Shape, tools: Path, folder: Path) -> Figures:
    """One generator, one stream, on a system of its own."""
    with ExitStack() as stack:
        system = stack.enter_context(System(folder / "system"))
        samples = folder / "independent.json"
        argv = [sys.executable, str(ROOT / "benchmarks" / "bias.py"), f"--independent={system.node_port}"]
        argv += [f"--out={samples}", f"--clients={shape.clients + (PROBES if name == FANLAB else 0)}"]
        beside = subprocess.Popen(argv)
        stack.callback(beside.kill)
        case = Case(name, shape, folder, system, stack)
        usage, told, start_ns = measure_fanlab(case) if name == FANLAB else measure_peer(case, tools)
        system.__exit__()  # the independent client writes its samples when its connections end
        beside.wait(30)
    end_ns = start_ns + round(shape.seconds * 1e9)
    late_ms = sorted(ns / 1e6 for at, ns in json.loads(samples.read_text())["samples"] if start_ns <= at < end_ns)
    if len(late_ms) < 0.9 * INDEPENDENT_CLIENTS * shape.rate * shape.seconds:  # some share a stamp with the next one
        raise SystemExit(f"the independent client has {len(late_ms)} samples only")
    return Figures(
        deliveries=told.deliveries,
        expected=round(shape.per_s * shape.seconds),
        cpu_us=max(TICK_S, usage.cpu_between_s(start_ns, end_ns + DRAIN_NS)) * 1e6 / max(1, told.deliveries),
        p50_ms=told.p50_ms,
        p99_ms=told.p99_ms,
        true_p50_ms=late_ms[len(late_ms) // 2],
        true_p99_ms=late_ms[int(len(late_ms) * 0.99)],
        rss_bytes=usage.rss_at(end_ns),
    )


@dataclass(frozen=True, slots=True)
class Case:
    """One generator on a system of its own; `stack` ends what is started."""

    name: str
    shape: Shape
    folder: Path
    system: System
    stack: ExitStack


Measured = tuple[Usage, peers.Told, int]  # … and when the first message was due, on the monotonic clock


def measure_peer(case: Case, tools: Path) -> Measured:
    """A peer, with the stream of stream.py."""
    shape, system = case.shape, case.system
    peer = peers.start(case.name, tools, case.folder / case.name, system.ws, shape.clients)
    case.stack.callback(peer.kill)
    wanted = shape.clients + INDEPENDENT_CLIENTS
    until(lambda: peer.must_live() or system.clients >= wanted, f"{wanted} clients of {case.name}", 120)
    time.sleep(1.0)  # the last subscriptions are confirmed
    with Usage(peer.process.pid) as usage:
        argv = [sys.executable, str(ROOT / "benchmarks" / "bench" / "stream.py")]
        argv += [str(system.redis_port), str(shape.rate), str(shape.seconds)]
        stream = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        case.stack.callback(stream.kill)
        line = stream.stdout.readline() if stream.stdout else ""
        if not line:
            raise SystemExit("the stream came to nothing")
        start_ns = int(json.loads(line)["start_ns"])
        stream.communicate("end\n", timeout=30)
    return usage, peer.told(), start_ns


def measure_fanlab(case: Case) -> Measured:
    """A whole run of fanlab against the system, with its own publishers, whose CPU does not count."""
    shape, system = case.shape, case.system
    path, run = case.folder / "bench.yaml", case.folder / case.name
    spawn, size = shape.clients / peers.CONNECT_S, {"clients": shape.clients, "probes": PROBES}
    path.write_text(SCENARIO.format(spawn=spawn, rate=shape.rate, seconds=shape.seconds, **size), encoding="utf-8")
    argv = [sys.executable, "-m", "fanlab", "run", str(path), "--backend", "external", "--node", f"node-1={system.ws}"]
    argv += ["--redis-url", system.redis_url, "--out", str(run), "--no-progress"]
    running = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    case.stack.callback(running.kill)
    with Usage(running.pid, lambda words: "publishers" not in words) as usage:
        said, _ = running.communicate(timeout=120 + shape.seconds)
    if not (run / "summary.json").exists():
        raise SystemExit(f"the run came to nothing:\n{said}")
    summary, manifest = (json.loads((run / f"{part}.json").read_text()) for part in ("summary", "manifest"))
    late = summary["latency_ms"]
    told = peers.Told(summary["ledger"]["delivered"], late["p50"], late["p99"])
    return usage, told, int(manifest["phases"]["zero_ns"])


def main() -> None:
    """Run all rounds, print the tables, write bench.json."""
    end_in_order()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", nargs="*", default=["k6", "locust", "artillery", "floor"], choices=peers.NAMES)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--clients", type=int, nargs="+", default=[200, 2000])
    parser.add_argument("--per-second", type=int, nargs="+", default=[5_000, 20_000, 40_000], help="deliveries")
    parser.add_argument(
        "--bias-at",
        type=int,
        nargs="*",
        default=[10_000, 20_000],
        help="deliveries/s to the fewer clients, for p50_bias",
    )
    parser.add_argument(
        "--ladder", type=int, nargs="*", default=[10_000, 20_000, 30_000, 45_000, 60_000, 80_000], help="deliveries/s"
    )
    parser.add_argument("--tools", type=Path, default=ROOT / ".bench", help="where peers are installed")
    parser.add_argument("--out", type=Path, default=ROOT / "reports" / "bench.json")
    arguments = parser.parse_args()
    names = [FANLAB, *peers.install(arguments.peers, arguments.tools)]
    shapes = [
        Shape.of(clients, per_second, arguments.seconds)
        for clients in arguments.clients
        for per_second in sorted(
            {*arguments.per_second, *(arguments.bias_at if clients == min(arguments.clients) else ())}
        )
    ]
    found: dict[tuple[Shape, str], list[Figures]] = {(shape, name): [] for shape in shapes for name in names}
    with tempfile.TemporaryDirectory(prefix="fanlab-") as temporary:
        for number in range(1, arguments.rounds + 1):
            for shape in shapes:
                for name in names:
                    place = Path(temporary) / f"{number}-{shape.clients}-{shape.per_s:.0f}-{name}"
                    figures = measure(name, shape, arguments.tools, place)
                    found[shape, name].append(figures)
                    print(f"round {number}: {said(name, shape, figures)}", file=sys.stderr, flush=True)
    for shape in shapes:
        print(f"\n{shape.per_s:,.0f} deliveries/s to {shape.clients} clients\n")
        print("\n".join(table(names, {name: found[shape, name] for name in names})))
    whole = document(arguments, shapes, names, found)
    if arguments.ladder:
        whole["truthful_per_s"] = climbed(arguments, names)
        print("\n| generator | truthful up to, deliveries/s |\n| --- | ---: |")
        print("\n".join(f"| {name} | {most:,} |" for name, most in whole["truthful_per_s"].items()))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(whole, indent=2) + "\n")
    chart.draw(whole, arguments.out.with_suffix(".svg"))


def climbed(arguments: argparse.Namespace, names: Sequence[str]) -> dict[str, int]:
    """The highest rung that each generator climbs without bending its p99 or losing count; 0: not even the first."""
    clients = min(arguments.clients)
    found = dict.fromkeys(names, 0)
    with tempfile.TemporaryDirectory(prefix="fanlab-") as temporary:
        for name in names:
            for per_s in sorted(arguments.ladder):
                shape = Shape.of(clients, per_s, arguments.seconds)
                place = Path(temporary) / f"ladder-{per_s}-{name}"
                tries = (measure(name, shape, arguments.tools, place.with_name(f"{place.name}-{n}")) for n in range(2))
                if not any(one.truthful for one in tries):  # a stall of the machine's is not the generator's
                    break
                found[name] = per_s
    return found


def said(name: str, shape: Shape, figures: Figures) -> str:
    """One measurement in a line."""
    counted = "" if figures.deliveries == figures.expected else f", {figures.deliveries} of {figures.expected} counted"
    return (
        f"{name} at {shape.per_s:,.0f}/s to {shape.clients}: {figures.cpu_us:.1f} µs, p50 {figures.p50_ms:.2f} ms"
        f" ({figures.p50_bias:+.0%}), p99 {figures.p99_ms:.2f} ms ({figures.p99_bias:+.0%}){counted}"
    )


def table(names: Sequence[str], rounds: dict[str, list[Figures]]) -> Iterable[str]:
    """The medians as Markdown."""
    yield "| generator | CPU per delivery, µs | fanlab's share of it | p50, ms | bias | p99, ms | bias | counted |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for name in names:
        own = rounds[name]
        ratio = median(a.cpu_us / b.cpu_us for a, b in zip(rounds[FANLAB], own, strict=True))
        cells = [f"{median(one.cpu_us for one in own):.1f}", f"{ratio:.2f}"]
        cells += [f"{median(one.p50_ms for one in own):.2f}", f"{median(one.p50_bias for one in own):+.0%}"]
        cells += [f"{median(one.p99_ms for one in own):.2f}", f"{median(one.p99_bias for one in own):+.0%}"]
        cells.append(f"{median(one.deliveries / one.expected for one in own):.1%}")
        yield f"| {name} | {' | '.join(cells)} |"


def document(
    arguments: argparse.Namespace, shapes: Sequence[Shape], names: Sequence[str], found: dict[Any, list[Figures]]
) -> dict[str, Any]:
    """bench.json: the figures that the project promises something of, and all medians."""
    hardest = max(shapes, key=lambda shape: (shape.clients == min(arguments.clients), shape.per_s))
    whole: dict[str, Any] = {"rounds": arguments.rounds, "seconds": arguments.seconds}
    for name in names[1:]:
        pairs = zip(found[hardest, FANLAB], found[hardest, name], strict=True)
        whole[f"generator_cpu_ratio_{name}"] = median(a.cpu_us / b.cpu_us for a, b in pairs)
    few, many = min(arguments.clients), max(arguments.clients)
    if few < many and "k6" in names:
        whole["memory_per_connection_ratio_k6"] = memory(shapes, found, few, many)
    easy = [shape for shape in shapes if shape.clients == few and shape.per_s in arguments.bias_at]
    if easy:  # of the one where it is worst
        for field in ("p50_bias", "p99_bias"):
            each = [median(getattr(one, field) for one in found[shape, FANLAB]) for shape in easy]
            whole[field] = max(each, key=abs)
    whole["medians"] = [
        {
            "clients": shape.clients,
            "per_s": shape.per_s,
            "generator": name,
            **{
                field: median(getattr(one, field) for one in found[shape, name])
                for field in ("cpu_us", "p50_ms", "p99_ms", "p50_bias", "p99_bias", "rss_bytes", "deliveries")
            },
        }
        for shape in shapes
        for name in names
    ]
    return whole


def memory(shapes: Sequence[Shape], found: dict[Any, list[Figures]], few: int, many: int) -> float:
    """fanlab's memory per connection over k6's, at the least rate."""

    def per_connection(name: str) -> list[float]:
        ends = [
            min((shape for shape in shapes if shape.clients == count), key=lambda shape: shape.per_s)
            for count in (few, many)
        ]
        pairs = zip(found[ends[0], name], found[ends[1], name], strict=True)
        return [(b.rss_bytes - a.rss_bytes) / (many - few) for a, b in pairs]

    return median(a / b for a, b in zip(per_connection(FANLAB), per_connection("k6"), strict=True))


def median(values: Iterable[float]) -> float:
    """The middle one."""
    return statistics.median(values)


if __name__ == "__main__":
    main()
