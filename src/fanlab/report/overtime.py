"""A run's figures for what keeps them over time: OpenMetrics for GitLab, JSON for github-action-benchmark. Pure."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from fanlab.report import facts, text
from fanlab.report.junit import Result

_QUANTILES: Final = {"p50": "0.5", "p90": "0.9", "p95": "0.95", "p99": "0.99", "p999": "0.999", "max": "1"}
_MS_PER_S: Final = 1000
_COMPARED: Final = ("p50", "p99")

Sample = tuple[str, dict[str, str], float]  # a metric's name, labels, value


def openmetrics(results: Sequence[Result]) -> str:
    """OpenMetrics text: gauges, each series once, what has no value left out. GitLab's metrics report takes it."""
    lines: list[str] = []
    by_name: dict[str, list[Sample]] = {}
    for summary, manifest in results:
        for sample in _samples(summary, manifest):
            by_name.setdefault(sample[0], []).append(sample)
    for name, samples in by_name.items():
        lines.append(f"# TYPE {name} gauge")
        series = {_series(labels): value for _, labels, value in samples}
        lines += [f"{name}{{{labels}}} {value:.10g}" for labels, value in series.items()]
    return "\n".join([*lines, "# EOF"]) + "\n"


def benchmark_json(results: Sequence[Result]) -> str:
    """What github-action-benchmark reads as `customSmallerIsBetter`: latencies, the share lost, recovery."""
    entries: list[dict[str, Any]] = []
    for summary, manifest in results:
        name = facts.name(summary, manifest)
        latency, ratio = summary["latency_ms"], summary["loss"]["ratio"]
        backend = text.clean(summary["backend"], 20)
        extra = f"verdict {summary['verdict']}, {backend} backend, seed {summary['seed']}, n = {latency['n']}"
        spread = None if latency["p90"] is None or latency["p50"] is None else f"p90 {latency['p90']:.6g}"
        figures = [(f"latency {key}", "ms", latency[key], spread if key == "p50" else None) for key in _COMPARED]
        figures.append(("lost", "%", None if ratio is None else ratio * 100, None))
        figures.append(("recovery", "ms", summary["recovery_ms"]["max"], None))
        entries += [
            {"name": f"{name}: {what}", "unit": unit, "value": value, "extra": extra}
            | ({"range": spread} if spread else {})
            for what, unit, value, spread in figures
            if value is not None
        ]
    return json.dumps(entries, indent=2, ensure_ascii=False) + "\n"


def _samples(summary: Mapping[str, Any], manifest: Mapping[str, Any]) -> Iterator[Sample]:
    run = {"scenario": facts.name(summary, manifest), "backend": text.clean(summary["backend"], 20)}
    yield "fanlab_run_passed", run, float(summary["verdict"] == "pass")
    yield "fanlab_run_valid", run, float(summary["verdict"] != "invalid")
    for term, value in summary["ledger"].items():
        yield "fanlab_ledger", {**run, "term": term}, value
    if summary["loss"]["ratio"] is not None:
        yield "fanlab_loss_ratio", run, summary["loss"]["ratio"]
    for key, quantile in _QUANTILES.items():
        if (value := summary["latency_ms"][key]) is not None:
            yield "fanlab_latency_seconds", {**run, "quantile": quantile}, value / _MS_PER_S
    if (value := summary["recovery_ms"]["max"]) is not None:
        yield "fanlab_recovery_seconds", run, value / _MS_PER_S
    for gate in summary["gates"]:
        yield "fanlab_gate_passed", {**run, "gate": text.clean(gate["expr"], 200)}, float(gate["ok"])


def _series(labels: Mapping[str, str]) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
