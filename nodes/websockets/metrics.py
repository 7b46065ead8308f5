"""Counters of the node, and the Prometheus text format 0.0.4 (prometheus.io/docs/instrumenting/exposition_formats)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(slots=True)
class Counters:
    """What has happened since the start."""

    messages: int = 0
    deliveries: int = 0
    drops: dict[str, int] = field(default_factory=dict)  # by cause
    gaps: int = 0
    bad_commands: int = 0
    connections: int = 0
    refused: dict[str, int] = field(default_factory=dict)  # connections, by reason
    dead: int = 0  # clients given up by the heartbeat

    def add_drops(self, cause: str, count: int) -> None:
        """Count messages that were not handed to clients."""
        self.drops[cause] = self.drops.get(cause, 0) + count

    def add_refused(self, reason: str) -> None:
        """Count a connection that was not let in."""
        self.refused[reason] = self.refused.get(reason, 0) + 1


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric; samples are values by label value, with "" for no label."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    samples: Mapping[str, float]
    label: str = ""


def render(metrics: Iterable[Metric]) -> str:
    """The exposition text."""
    lines: list[str] = []
    for metric in metrics:
        lines.append(f"# HELP {metric.name} {metric.help}")
        lines.append(f"# TYPE {metric.name} {metric.kind}")
        for value_of_label, value in metric.samples.items():
            labels = f'{{{metric.label}="{_escaped(value_of_label)}"}}' if metric.label else ""
            lines.append(f"{metric.name}{labels} {value:.17g}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
