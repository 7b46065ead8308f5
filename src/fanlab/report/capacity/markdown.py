"""capacity.md: the search's result for a pull request or an issue. Tables only, every name escaped."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fanlab.report.capacity import tables
from fanlab.report.capacity.model import Section
from fanlab.report.markdown import escape, section

_MARKS: Final = {"answer": "✅", "bound": "⚠️", "none": "❌"}


def render(document: Mapping[str, Any], models: Sequence[Section] = ()) -> str:
    """The report as GitHub-flavoured Markdown. The same input gives the same text."""
    lines = [f"# Capacity of {escape(document['scenario'])}", ""]
    lines += [f"{_MARKS[document['status']]} **{escape(document['headline'])}**", ""]
    lines += [f"- {label}: **{escape(value)}** {escape(note)}" for label, value, note in tables.facts(document)]
    lines += [f"- Objective: {escape(document['slo'])}", ""]
    if document["saturation"] is not None:
        lines += ["## What saturates", "", escape(document["saturation"]["sentence"]), ""]
    for table in (tables.parts(document), tables.sizing(document), tables.cost(document), tables.probes(document)):
        if table is not None:
            lines += section(table, f"## {escape(table.title)}")
    for model in models:
        lines += [f"## {escape(model.title)}", "", escape(model.lead), ""]
        for table in model.tables:
            lines += section(table, f"### {escape(table.title)}")
    lines += ["## Assumptions", ""]
    lines += [f"- {escape(each)}" for each in (*document["assumptions"], *(a for m in models for a in m.assumptions))]
    return "\n".join(lines).rstrip() + "\n"
