"""Scaling over nodes as sections of a capacity report: the fit with its held-out point, and what is foretold. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fanlab.report import text
from fanlab.report.capacity.model import Section
from fanlab.report.capacity.tables import load
from fanlab.report.figures.scaling import figure_scaling
from fanlab.report.tables import Cell, Table

_LAW: Final = """
What is carried follows the Universal Scalability Law over the nodes, X(N) = λN / (1 + s(N − 1) + κN(N − 1)), with neither s nor κ below 0.
A search's interval for its knee is how sure it is of it; the band is wider where knees lie further from the law.
Nodes are alike, and what saturates stays the same: where Redis or the machine takes over, the law ends.
""".strip().splitlines()  # noqa: E501 - a sentence to a line


def sections(found: Mapping[str, Any]) -> Sequence[Section]:
    """The two sections of `capacity.scaling.scaling`'s result; no forecast where none was asked for."""
    model, rows = found["model"], found["forecast"]["rows"]
    fitted = Section(
        key="model",
        title="Scaling over nodes",
        lead=_lead(model),
        data=model,
        tables=[_points(model)],
        drawings=[figure_scaling(model, rows)],
        assumptions=_LAW,
    )
    if not rows:
        return [fitted]
    return [fitted, Section("forecast", "Forecast", _forecast_lead(model), found["forecast"], [_rows(model, rows)])]


def _lead(model: Mapping[str, Any]) -> str:
    axis = model["axis"]
    shares = f"contention {text.ratio(model['contention'])}, crosstalk {text.ratio(model['crosstalk'])}"
    found = [f"One node carries {load(axis, model['one_node'])} {model['unit']} by the law; {shares}."]
    if model["peak"] is not None:
        peak = model["peak"]
        found.append(f"Past {peak['value']:.3g} nodes it goes down ({peak['low']:.3g} to {peak['high']:.3g}).")
    held = model["held_out"]
    if held is None:
        found.append("No point was held out: that takes four numbers of nodes.")
    else:
        found.append(
            f"Held out: of {held['nodes']} nodes the others foretell {load(axis, held['value'])}"
            f" ({load(axis, held['low'])} to {load(axis, held['high'])}), and {load(axis, held['found'])} was found:"
            f" {'inside' if held['inside'] else 'OUTSIDE'} the band."
        )
    return " ".join(found)


def _points(model: Mapping[str, Any]) -> Table:
    axis = model["axis"]
    rows = tuple(
        (
            Cell(str(each["nodes"])),
            Cell(load(axis, each["load"])),
            Cell(f"{load(axis, each['low'])} to {load(axis, each['high'])}"),
            Cell(load(axis, each["fitted"])),
            Cell(text.ratio(each["load"] / (each["nodes"] * model["one_node"]))),
            Cell(text.clean(each["saturates"] or text.NONE, 40)),
            Cell(each["search"]),
        )
        for each in model["points"]
    )
    columns = (
        *(("Nodes", True), (f"Knee, {model['unit']}", True), ("Interval", True), ("By the law", True)),
        *(("Of so many alone", True), ("Saturates", False), ("Search", False)),
    )
    return Table("Measured", columns, rows)


def _forecast_lead(model: Mapping[str, Any]) -> str:
    most = max(each["nodes"] for each in model["points"])
    return f"By the law, from up to {most} nodes measured; 95 % bands of the fit."


def _rows(model: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Table:
    axis = model["axis"]
    cells = tuple(
        (Cell(str(each["nodes"])), Cell(text.NONE), Cell(text.NONE), Cell(each["refused"], "muted"))
        if "refused" in each
        else (
            Cell(str(each["nodes"])),
            Cell(load(axis, each["value"])),
            Cell(f"{load(axis, each['low'])} to {load(axis, each['high'])}"),
            Cell("a guess: past twice what was measured" if each["guess"] else "", "bad" if each["guess"] else ""),
        )
        for each in rows
    )
    columns = (("Nodes", True), (f"Foretold, {model['unit']}", True), ("95 % band", True), ("", False))
    return Table("Foretold", columns, cells)
