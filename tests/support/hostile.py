"""Names that try to be something else than names, and a report that is full of them."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fanlab.analysis.series import FaultWindow, HopLoss, Recovery, Series
from support.sample_report import sample_cache, sample_report, sample_series

NAMES = (
    "<script>alert(1)</script>",
    "</style><img src=x onerror=alert(2)>",
    "</title></svg><b>",
    "$$",
    "[bold red]x[/bold red]",
    "| a | b `c` *d* _e_",
    "{{ 7*7 }}{% raw %}",
    "\x1b[31m\x07\x00",
    "two\nlines\r\n# heading",
    "\u202edesrever",
    "🔥 emoji",
    "x" * 5000,
    "https://example.org/x @someone #12 www.example.org",
    "```\n~~~",
)


def hostile_report(names: Sequence[str] = NAMES) -> tuple[dict[str, Any], dict[str, Any]]:
    """Summary and manifest of the sample with hostile text wherever a name or a sentence may stand."""
    summary, manifest, _ = sample_report()
    summary, manifest = copy.deepcopy(summary), copy.deepcopy(manifest)
    everything = " ".join(names)
    summary["scenario"] = everything
    summary["reasons"] = list(names)
    summary["gates"] = [{"expr": name, "actual": name, "ok": False} for name in names]
    block = next(iter(summary["recovery_ms"]["by_fault"].values()))
    summary["recovery_ms"]["by_fault"] = dict.fromkeys(names, block)
    for key in ("by_hop", "by_cause", "by_node", "by_channel"):
        summary["loss"][key] = dict.fromkeys(names, 1)
    summary["loss"]["by_hop_and_cause"] = [
        {"hop": name, "cause": name, "lost": 1, "example": {"client": 1, "publisher": name, "channel": name, "seq": 1}}
        for name in names
    ]
    summary["duplicates"]["by_cause"] = dict.fromkeys(names, 1)
    summary["evidence"] |= {"coarse": list(names), "node_journals": list(names), "foreign": 3}
    summary["cache"] = sample_cache(names)
    summary["loss"]["by_fault"] = [
        {"fault": name, "predicted": 1.0, "predicted_from_outage": None, "measured": 1} for name in names
    ]
    settings = dict.fromkeys(names, everything)
    manifest["scenario"] |= {"question": everything, "expect": everything, "channels": list(names)}
    manifest["scenario"]["topology"] = {"nodes": [{"kind": name, "env": settings} for name in names[:3]]}
    manifest |= {"command": ["fanlab", "run", *names], "scenario_source": everything, "status": names[0]}
    manifest |= {"seed": names[0], "backend": everything, "matrix_cell": settings, "fanlab_version": names[-1]}
    manifest["redis"] = dict.fromkeys(("url", "source", "version"), everything)
    manifest["host"] = manifest["limits"] = manifest["versions"] = settings
    manifest["clock"] = dict.fromkeys(("name", "boot_id"), everything)
    summary["backend"] = everything
    return summary, manifest


def hostile_series(names: Sequence[str] = NAMES) -> Series:
    """The sample's series with a hostile name for every node, unit, channel and fault."""
    series = sample_series()
    line, samples = series.ecdf_ms["node-1"], series.samples["cpu"]["redis"]
    per_node = len(series.heatmap_rows) // len(names) + 1
    return replace(
        series,
        heatmap=np.ones_like(series.heatmap),
        heatmap_rows=[names[row // per_node] for row in range(len(series.heatmap_rows))],
        ecdf_ms=dict.fromkeys(names, line),
        ecdf_n=dict.fromkeys(names, 100),
        faults=[FaultWindow(name, number / 10, None) for number, name in enumerate(names)],
        recoveries=[Recovery(name, 3, 1.0, 2.0, None, None) for name in names],
        hop_losses=[HopLoss("client", name, name, 1 + number) for number, name in enumerate(names)],
        caches=[replace(series.caches[0], node=name) for name in names],
        samples={metric: dict.fromkeys(names, samples) for metric in series.samples},
    )
