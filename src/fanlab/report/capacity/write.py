"""A capacity search's report, written beside its capacity.json: charts, HTML and Markdown."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fanlab.errors import EnvironmentFailure
from fanlab.report.capacity import html, markdown
from fanlab.report.capacity.model import Section
from fanlab.report.charts import draw
from fanlab.report.figures.capacity import figure_p99, figure_throughput
from fanlab.rundir import write_json


def write_capacity(folder: Path, document: Mapping[str, Any], models: Sequence[Section] = ()) -> dict[str, Any]:
    """Write capacity.json, charts/, capacity.html and capacity.md into `folder`; returns capacity.json's content.

    `models` are results that were modelled, not measured; each has a section of its own and its key in the JSON.
    Raises EnvironmentFailure where it cannot write.
    """
    whole = dict(document)
    whole.update({model.key: dict(model.data) for model in models})
    write_json(folder / "capacity.json", whole)
    drawings = [figure_throughput(whole), figure_p99(whole), *(each for model in models for each in model.drawings)]
    charts = draw(drawings, folder / "charts")
    for name, page in (
        ("capacity.html", html.render(whole, charts, models)),
        ("capacity.md", markdown.render(whole, models)),
    ):
        path = folder / name
        try:
            path.write_text(page, encoding="utf-8")
        except OSError as error:
            raise EnvironmentFailure(
                f"cannot write {path}: {error.strerror}", hint="free some space, or use --out"
            ) from error
    return whole
