"""capacity.html: one file that shows everything, fetches nothing and runs nothing."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final

import jinja2
from markupsafe import Markup

from fanlab import __version__
from fanlab.report import text
from fanlab.report.capacity import tables
from fanlab.report.capacity.model import Section
from fanlab.report.charts import Chart
from fanlab.report.figures import svg

_TONES: Final = {"answer": ("good", "Answer"), "bound": ("warn", "Bound"), "none": ("bad", "No answer")}
_ROWS_AT_MOST: Final = 200


def render(document: Mapping[str, Any], charts: Mapping[str, Chart], models: Sequence[Section] = ()) -> str:
    """The page. The same input gives the same bytes. `charts` holds those of the search and those of `models`."""
    tone, word = _TONES[document["status"]]
    wanted = document["search"]
    return _template().render(
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


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("fanlab.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    # Both take only what fanlab.report has built itself: SVG whose texts are escaped, and colours of the palette.
    environment.filters["picture"] = Markup
    environment.filters["css"] = Markup
    return environment.get_template("capacity.html.j2")
