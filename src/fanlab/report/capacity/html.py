"""capacity.html: one file that shows everything, fetches nothing and runs nothing."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fanlab import __version__
from fanlab.report import text
from fanlab.report.capacity import tables
from fanlab.report.capacity.model import Section
from fanlab.report.charts import Chart
from fanlab.report.figures import svg
from fanlab.report.pages import template

_TONES: Final = {"answer": ("good", "Answer"), "bound": ("warn", "Bound"), "none": ("bad", "No answer")}
_ROWS_AT_MOST: Final = 200


def render(document: Mapping[str, Any], charts: Mapping[str, Chart], models: Sequence[Section] = ()) -> str:
    """The page. The same input gives the same bytes. `charts` holds those of the search and those of `models`."""
    tone, word = _TONES[document["status"]]
    wanted = document["search"]
    return template("capacity.html.j2").render(
        scenario=text.clean(document["scenario"]),
        question=text.clean(document["question"], 500),
        meta=[
            f"objective: {text.clean(document['slo'], 300)}",
            f"axis {document['axis']}",
            f"{document['backend']} backend",
            f"{len(document['probes'])} runs",
            f"precision {text.ratio(wanted['precision'])}",
        ],
        tone=tone,
        word=word,
        headline=text.clean(document["headline"], 500),
        facts=tables.facts(document),
        throughput=charts["throughput"],
        p99=charts["p99"],
        saturation=document["saturation"],
        parts=tables.parts(document),
        sizing=tables.sizing(document),
        cost=tables.cost(document),
        probes=tables.probes(document),
        models=[(model, [charts[drawing.name] for drawing in model.drawings]) for model in models],
        assumptions=[*document["assumptions"], *(each for model in models for each in model.assumptions)],
        fanlab_version=__version__,
        rows_at_most=_ROWS_AT_MOST,
        light=svg.variables(dark=False),
        dark=svg.variables(dark=True),
    )
