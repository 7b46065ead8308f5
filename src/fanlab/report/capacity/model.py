"""The place in a capacity report for what is modelled, not measured: a fit over nodes, a forecast.

Whoever makes a model hands over a Section; it is laid out under a heading of its own, and its `data` goes into
capacity.json under its key.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from fanlab.report.figures.style import Drawing
from fanlab.report.tables import Table


@dataclass(frozen=True, slots=True)
class Section:
    """One model's results as a report shows them."""

    key: Literal["model", "forecast"]
    title: str
    lead: str  # what it says, in a sentence or two
    data: Mapping[str, Any]
    tables: Sequence[Table] = ()
    drawings: Sequence[Drawing] = ()
    assumptions: Sequence[str] = field(default_factory=tuple)
