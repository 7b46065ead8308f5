"""`fanlab compare`, and what `fanlab gate --baseline` adds: refuse what cannot be compared, judge the rest. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fanlab.analysis.baseline import Baseline, FaultCount, parts_of
from fanlab.analysis.comparable import Finding, apart, count_findings, missing, other_means, other_parts, unfit
from fanlab.analysis.compare import FIGURES, MIN_PAIRS, UNCALIBRATED_EFFECT, Ratio, compare_latency
from fanlab.errors import MeasurementError, Problem, ScenarioError

ALONE = f"one run each says nothing of latency: compare at least {MIN_PAIRS} pairs (--pairs)"


@dataclass(frozen=True, slots=True)
class Comparison:
    """B held against A. `notes` say what could not be looked at, and why."""

    a: str
    b: str
    counts: Sequence[Finding]
    latency: Sequence[Ratio] = ()
    notes: Sequence[str] = field(default=())

    @property
    def worse(self) -> list[str]:
        """A sentence for each thing that is worse."""
        found = [
            f"{one.what} is {_number(one.b)}, and was {_number(one.a)}: {one.basis}"
            for one in self.counts
            if one.verdict == "worse"
        ]
        found += [
            f"latency {one.figure} is {one.ratio:.2f} times what it was ({one.low:.2f} to {one.high:.2f})"
            for one in self.latency
            if one.verdict == "worse"
        ]
        return found

    @property
    def verdict(self) -> str:
        """The worst of all; a figure of latency that could not be judged leaves it open."""
        verdicts: set[str] = {one.verdict for one in self.counts} | {one.verdict for one in self.latency}
        if "worse" in verdicts:
            return "worse"
        judged = {one.figure for one in self.latency}.issuperset(FIGURES)
        return "no worse" if judged and "inconclusive" not in verdicts else "inconclusive"

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "a": self.a,
            "b": self.b,
            "verdict": self.verdict,
            "worse": self.worse,
            "counts": [one.to_json() for one in self.counts],
            "latency": [one.to_json() for one in self.latency],
            "notes": list(self.notes),
        }


def refuse(a: Baseline, b: Baseline) -> None:
    """Raises MeasurementError for runs that are no result, ScenarioError for two that answer different questions."""
    for one in (a, b):
        if why := unfit(one):
            raise MeasurementError(f"nothing can be compared: {why}", hint="run it again to a valid end")
    refuse_other_questions(a, b)


def refuse_other_questions(a: Baseline, b: Baseline) -> None:
    """The second half of it."""
    _refuse([*other_parts(a.parts, b.parts), *other_means(a, b)], (a.name, b.name))


def refuse_other_scenarios(a: Mapping[str, Any], b: Mapping[str, Any], *, names: tuple[str, str]) -> None:
    """The same of two resolved scenarios, before they are run. Raises ScenarioError."""
    _refuse(other_parts(parts_of(a), parts_of(b)), names)


def _refuse(why: Sequence[str], names: tuple[str, str]) -> None:
    if why:
        what = f"cannot be compared with {names[0]}: {'; '.join(why)}"
        raise ScenarioError([Problem(names[1], 0, 0, "", what)])


def compare_runs(a: Baseline, b: Baseline) -> Comparison:
    """One run each: counts are judged, latency is not. Raises as `refuse` does."""
    refuse(a, b)
    return Comparison(a.name, b.name, count_findings(a, b), notes=[*_moved(a, b), *missing(a, b), *apart(a, b), ALONE])


def compare_pairs(
    pairs: Sequence[tuple[Baseline, Baseline]],
    min_effects: Mapping[str, float],
    *,
    seed: int,
    names: tuple[str, str],
    asked: float | None = None,
) -> Comparison:
    """Pairs of interleaved runs of A and B: the counts of all of them together, and the ratio of latencies.

    `min_effects` and `asked` are those of `compare_latency`.
    """
    a, b = (summed(side) for side in zip(*pairs, strict=True))
    values = [
        {figure: [value for one in side if (value := one.latency_ms[figure])] for figure in FIGURES}
        for side in zip(*pairs, strict=True)
    ]
    whole = [figure for figure in FIGURES if all(len(side[figure]) == len(pairs) for side in values)]
    a_ms, b_ms = ({figure: side[figure] for figure in whole} for side in values)
    notes = [f"latency {figure} has no value in some of the runs" for figure in FIGURES if figure not in whole]
    unknown = [figure for figure in whole if figure not in min_effects]
    if unknown:
        effect = UNCALIBRATED_EFFECT if asked is None else asked
        notes.append(
            f"how noisy {' and '.join(unknown)} are here is not known: `fanlab calibrate` finds out; until then"
            f" {100 * effect:.3g}% counts"
        )
    latency = compare_latency(a_ms, b_ms, min_effects, seed=seed, asked=asked)
    return Comparison(*names, count_findings(a, b), latency, notes)


def summed(runs: Sequence[Baseline]) -> Baseline:
    """Runs as one: counts added up."""
    names = [name for name in runs[0].counts if all(name in one.counts for one in runs)]
    counts = {name: sum(one.counts[name] for one in runs) for name in names}
    faults = {
        name: FaultCount(
            *(sum(getattr(one.by_fault[name], part) for one in runs) for part in ("lost", "clients", "squares"))
        )
        for name in runs[0].by_fault
        if all(name in one.by_fault for one in runs)
    }
    return replace(runs[0], counts=counts, by_fault=faults)


def with_baseline(summary: dict[str, Any], found: Comparison) -> dict[str, Any]:
    """A summary whose gates are also those that follow from a baseline; one that fails, fails the run."""
    gates = [{"expr": one.gate, "actual": one.b, "ok": one.verdict != "worse"} for one in found.counts if one.gate]
    reasons = [f"worse than the baseline {found.a}: {what}" for what in found.worse]
    verdict = "fail" if reasons and summary["verdict"] == "pass" else summary["verdict"]
    return {
        **summary,
        "verdict": verdict,
        "reasons": [*summary["reasons"], *reasons],
        "gates": [*summary["gates"], *gates],
    }


def _moved(a: Baseline, b: Baseline) -> list[str]:
    """Versions that differ: no reason to refuse, but one to look at."""
    names = sorted({*a.versions, *b.versions})
    moved = [
        f"{name} {a.versions.get(name)} → {b.versions.get(name)}"
        for name in names
        if a.versions.get(name) != b.versions.get(name)
    ]
    if a.fanlab_version != b.fanlab_version:
        moved.insert(0, f"fanlab {a.fanlab_version} → {b.fanlab_version}")
    return [f"versions differ: {', '.join(moved)}"] if moved else []


def _number(value: float | None) -> str:
    return "not known" if value is None else f"{value:,.0f}"
