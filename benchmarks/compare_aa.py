"""Do comparisons cry wolf on this machine? Real runs of one system, and of one made slower, judged 300 times.

    .venv/bin/python benchmarks/compare_aa.py      # 92 runs of a system, 24 pairs with a slower one: half an hour or so
    .venv/bin/python benchmarks/compare_aa.py --runs 12 --slow-pairs 6 --comparisons 60      # a try

The first 32 runs of the system as it is calibrate; of the 60 others A/A comparisons are resampled. Two ways of being
slower: the same runs with B's latencies times 1.2, and real runs of a system whose link to clients has 8 ms, against
one whose link has as much more as is a fifth of the p50 that comes of it (the link's timers have whole milliseconds).
A comparison has as many pairs as those 32 runs say that it takes to find a fifth more, as `fanlab calibrate` tells.
Last, real runs in which one node's proxy loses one message, each time another one: `fanlab gate` must find every one of
them, and nothing where the same proxy loses none. Exits with 1 where a promise is broken; fewer than 92 runs promise
nothing.
"""

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from fanlab.analysis.baseline import Baseline
from fanlab.analysis.compare import (
    FIGURES,
    MANY_PAIRS,
    MIN_PAIRS,
    compare_latency,
    min_effect_of,
    noise_of,
    pairs_to_find,
)
from fanlab.pairing import Session, run_alone, run_pairs
from fanlab.scenario.loader import Loaded, load_text

LEAST_PAIRS = 12
CALIBRATING = 32  # runs
ENOUGH = CALIBRATING + 60
LINK_MS = 8
SCENARIO = """name: aa
question: Is it as fast as itself?
topology: {nodes: [{count: 1}, NODE]}
channels: [news]
clients: [{group: readers, count: 40, spawn_rate: 200/s, channels: [news]}]
publishers: [{name: ticker, channel: news, rate: 100/s}]
phases: {warm_up: 500ms, measure: SECONDSs, drain: {quiet: 300ms, deadline: 10s}}
faults: [FAULTS]
limits: {cpu: 1, schedule_lag_p99: 10s, loop_lag_p99: 10s, bias_p99: 10s, steal: 1}
"""


def main() -> None:
    """Run, resample, print a Markdown table, and say whether the promises hold."""
    parser = argparse.ArgumentParser(description="False alarms, and what is found, from real runs.")
    parser.add_argument("--runs", type=int, default=ENOUGH)
    parser.add_argument("--pairs", type=int, help="of a comparison; by default as many as it takes here")
    parser.add_argument("--slow-pairs", type=int, default=24)
    parser.add_argument("--losing", type=int, default=12, help="runs that lose one message")
    parser.add_argument("--comparisons", type=int, default=300)
    parser.add_argument("--slower", type=float, default=0.2)
    parser.add_argument("--seconds", type=int, default=3, help="of each run")
    parser.add_argument("--out", type=Path, help="keep the runs here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(judge(arguments, arguments.out or Path(folder)))


def judge(arguments: argparse.Namespace, home: Path) -> int:
    """The whole of it; 0 where all that was promised holds."""
    enough, most, slower = arguments.runs >= ENOUGH, arguments.comparisons, arguments.slower
    same = run_alone(session(home / "same"), scenario(arguments.seconds), arguments.runs)
    noise, trial = split(same)
    many = arguments.pairs or pairs_for(noise, slower)
    effects = effects_of(noise, many)
    neighbours = list(zip(trial[0::2], trial[1::2], strict=False))
    (linked,) = run_alone(session(home / "linked"), scenario(arguments.seconds, LINK_MS), 1)
    more_ms = max(1, round((linked.latency_ms["p50"] or 0) * slower))
    slow = scenario(arguments.seconds, LINK_MS + more_ms)
    pairs = run_pairs(session(home / "slow"), scenario(arguments.seconds, LINK_MS), slow, arguments.slow_pairs, 1)
    found = {
        "the system with itself": resampled(neighbours, effects, many, most, swap=True),
        f"its p50 times {1 + slower:g}": resampled(neighbours, effects, many, most, swap=True, times=1 + slower),
        f"{LINK_MS} ms of link, and {more_ms} more": resampled(
            pairs, effects_of([a for a, _ in pairs], many), many, most
        ),
    }
    honest = loses(home / "honest", arguments.seconds, 0, seed=1)
    caught = sum(loses(home / f"losing-{seed}", arguments.seconds, 1, seed=seed) for seed in range(arguments.losing))
    print(f"p50 {np.median(values(same, 'p50')):.3g} ms, with the link {linked.latency_ms['p50']:.3g} ms")
    print(
        f"comparisons of {many} pairs; an effect counts from",
        ", ".join(f"{name} {effect:.1%}" for name, effect in effects.items()) or "?",
    )
    print("| what | comparisons | worse | inconclusive | no worse |\n| --- | ---: | ---: | ---: | ---: |")
    for what, verdicts in found.items():
        told = " | ".join(str(verdicts[name]) for name in ("worse", "inconclusive", "no worse"))
        print(f"| {what} | {most} | {told} |")
    print(f"a single lost message: found in {caught} of {arguments.losing}; where none was: {int(honest)} of 1")
    if not enough:
        print(f"fewer than {ENOUGH} runs: nothing is promised of them")
        return 0
    kept = promises(list(found.values()), most)
    kept["a lost message always found"] = caught == arguments.losing > 0
    kept["and none where none was"] = not honest
    for promise, held in kept.items():
        print(f"{'kept' if held else 'BROKEN'}: {promise}")
    return 0 if all(kept.values()) else 1


def split(runs: list[Baseline]) -> tuple[list[Baseline], list[Baseline]]:
    """Those that calibrate, and those that are judged: no run does both, where there are enough."""
    return (runs[:CALIBRATING], runs[CALIBRATING:]) if len(runs) >= ENOUGH else (runs, runs)


def promises(verdicts: list[Counter[str]], comparisons: int) -> dict[str, bool]:
    """Of the system with itself, and then of those that were made slower: what is promised, and whether it holds."""
    alarms, *planted = verdicts
    return {
        "at most 1 % false alarms": alarms["worse"] <= 0.01 * comparisons,
        "at least 95 % found": all(one["worse"] >= 0.95 * comparisons for one in planted),
        "never called good": not any(one["no worse"] for one in planted),
    }


def scenario(seconds: int, link_ms: float = 0, node: str = "{count: 1}") -> Loaded:
    """The system; with `link_ms` its links to clients take as much longer, from time 0 on. `node`: its second one."""
    fault = f"{{kind: latency, target: all, direction: from-node, at: 0s, latency: {link_ms:g}ms}}" if link_ms else ""
    text = SCENARIO.replace("FAULTS", fault).replace("SECONDS", str(seconds)).replace("NODE", node)
    return load_text(text, "aa")[0]


def pairs_for(runs: list[Baseline], slower: float) -> int:
    """Of a comparison that is to find as much, a tenth left over for what the machine may do meanwhile."""
    if len(runs) < 2 * MIN_PAIRS:
        return LEAST_PAIRS
    found = pairs_to_find(noise_of(values(runs, "p50")), 0.9 * slower, seed=1, least=LEAST_PAIRS)
    return found or MANY_PAIRS[-1]


def effects_of(runs: list[Baseline], many: int) -> dict[str, float]:
    """What counts in so many pairs, from runs of one system in order of time; nothing of too few."""
    noise = {figure: noise_of(values(runs, figure)) for figure in FIGURES if len(runs) >= 2 * MIN_PAIRS}
    return {figure: min_effect_of(of, many, seed=1) for figure, of in noise.items()}


def session(home: Path) -> Session:
    """Told on stderr."""
    home.mkdir(parents=True, exist_ok=True)
    return Session(home, sys.argv, tell=lambda said: print(said, file=sys.stderr, flush=True))


def values(runs: Iterable[Baseline], figure: str) -> list[float]:
    """One figure of each run, in ms."""
    return [float(one.latency_ms[figure]) for one in runs]


def resampled(
    pairs: list[tuple[Baseline, Baseline]],
    effects: dict[str, float],
    many: int,
    comparisons: int,
    *,
    swap: bool = False,
    times: float = 1,
) -> Counter[str]:
    """Verdicts of comparisons of `many` pairs, drawn from these.

    `swap`: which run of a pair is called A is drawn as well; `times`: B's latencies are as many times what they were.
    Where B is slower on purpose, the p50 is looked at: that is what was made slower.
    """
    random, verdicts = np.random.default_rng(3), Counter[str]()
    planted = times > 1 or not swap
    for number in range(comparisons):
        drawn = [pairs[at] for at in random.integers(0, len(pairs), many)]
        drawn = [pair[::-1] if swap and random.random() < 0.5 else pair for pair in drawn]
        a_side, b_side = zip(*drawn, strict=True)
        a_ms = {figure: values(a_side, figure) for figure in FIGURES}
        b_ms = {figure: [times * value for value in values(b_side, figure)] for figure in FIGURES}
        ratios = compare_latency(a_ms, b_ms, effects, seed=number)
        told = {ratio.verdict for ratio in ratios if ratio.figure == "p50" or not planted}
        verdicts["worse" if "worse" in told else "inconclusive" if "inconclusive" in told else "no worse"] += 1
    return verdicts


def loses(home: Path, seconds: int, count: int, *, seed: int) -> bool:
    """Whether `fanlab gate` fails a real run, in which one node's proxy loses `count` messages that the seed names."""
    lie = f"{{LIE: lose, LIE_COUNT: {count}, LIE_AFTER: 60, LIE_SPAN: 100, LIE_SEED: {seed}}}"
    run = session(home).run(scenario(seconds, node=f"{{kind: saboteurs/lying-proxy, env: {lie}}}"), "run")
    if run.counts["ledger.lost"] != count:
        print(f"{home}: {run.counts['ledger.lost']} lost, and {count} were planted", file=sys.stderr)
        return not count
    words = [sys.executable, "-m", "fanlab", "gate", str(home / "run")]
    code = subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode
    if code not in (0, 1):
        print(f"{home}: fanlab gate exits with {code}", file=sys.stderr)
        return not count
    return code == 1


if __name__ == "__main__":
    main()
