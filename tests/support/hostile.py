"""Names that try to be something else than names, and a report that is full of them."""

import copy
from typing import Any

from support.sample_report import sample_cache, sample_report

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


def hostile_report() -> tuple[dict[str, Any], dict[str, Any]]:
    """Summary and manifest of the sample with hostile text wherever a name or a sentence may stand."""
    summary, manifest, _ = sample_report()
    summary, manifest = copy.deepcopy(summary), copy.deepcopy(manifest)
    everything = " ".join(NAMES)
    summary["scenario"] = everything
    summary["reasons"] = list(NAMES)
    summary["gates"] = [{"expr": name, "actual": name, "ok": False} for name in NAMES]
    block = next(iter(summary["recovery_ms"]["by_fault"].values()))
    summary["recovery_ms"]["by_fault"] = dict.fromkeys(NAMES, block)
    for key in ("by_hop", "by_cause", "by_node", "by_channel"):
        summary["loss"][key] = dict.fromkeys(NAMES, 1)
    summary["loss"]["by_hop_and_cause"] = [
        {"hop": name, "cause": name, "lost": 1, "example": {"client": 1, "publisher": name, "channel": name, "seq": 1}}
        for name in NAMES
    ]
    summary["duplicates"]["by_cause"] = dict.fromkeys(NAMES, 1)
    summary["evidence"] |= {"coarse": list(NAMES), "node_journals": list(NAMES), "foreign": 3}
    summary["cache"] = sample_cache(NAMES)
    summary["loss"]["by_fault"] = [
        {"fault": name, "predicted": 1.0, "predicted_from_outage": None, "measured": 1} for name in NAMES
    ]
    manifest["scenario"] |= {"question": everything, "expect": everything, "channels": list(NAMES)}
    manifest |= {"command": ["fanlab", "run", *NAMES], "scenario_source": everything, "status": NAMES[0]}
    manifest["host"] = dict.fromkeys(NAMES, everything)
    return summary, manifest
