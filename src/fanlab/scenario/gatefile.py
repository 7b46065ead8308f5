"""Gates that are given after the run: from a file, or on the command line, each with its place. Errors point there."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fanlab.errors import Problem, ScenarioError
from fanlab.scenario.document import Listing, Node, Place, Scalar, Table, parse
from fanlab.scenario.findings import nearest
from fanlab.scenario.gatefields import Kind, subject_of
from fanlab.scenario.gates import Gate, GateError, parse_gate
from fanlab.scenario.source import read

_SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class Given:
    """A gate's text and where it stands."""

    expr: str
    place: Place


def given_in_file(path: Path) -> list[Given]:
    """The gates of a YAML file: a list of them, or a mapping with `gates` (a scenario is one). Raises ScenarioError."""
    source = str(path)
    document = parse(read(path, source), source)
    if document.problems:
        raise ScenarioError(document.problems)
    root: Node = document.root
    if isinstance(root, Table) and "gates" in root.entries:
        root = root.entries["gates"].node
    if not isinstance(root, Listing):
        what = "gates are a list, with a `- field op number` on each line, or the `gates` of a mapping"
        raise ScenarioError([_problem(root.place, what)])
    problems, found = [], []
    for item in root.items:
        if isinstance(item, Scalar) and isinstance(item.value, str):
            found.append(Given(item.value, item.place))
        else:
            problems.append(_problem(item.place, "a gate is a text, as `lost == 0`"))
    if problems:
        raise ScenarioError(problems)
    return found


def given_in_words(expressions: Sequence[str]) -> list[Given]:
    """The gates of a command line."""
    return [Given(expr, Place(f"--gate {expr[:60]!r}", 0, 0)) for expr in expressions]


def refuse_senseless(given: Sequence[Given], names: Mapping[Kind, Collection[str]]) -> None:
    """Raises ScenarioError for gates that mean nothing, or are of what `names` does not have."""
    problems = [problem for one in given for problem in _problems(one, names)]
    if problems:
        raise ScenarioError(problems)


def _problems(given: Given, names: Mapping[Kind, Collection[str]]) -> Iterator[Problem]:
    try:
        gate = parse_gate(given.expr)
    except GateError as error:
        yield _problem(given.place, error.what, error.suggestion)
        return
    what, suggestion = _unknown(gate, names)
    if what:
        yield _problem(given.place, what, suggestion)


def _unknown(gate: Gate, names: Mapping[Kind, Collection[str]]) -> tuple[str, str | None]:
    subject = subject_of(gate.field)
    if subject is None:
        return "", None
    kind, name = subject
    known = list(names.get(kind, ()))
    if name in known:
        return "", None
    shown = ", ".join(map(repr, known[:_SHOWN])) + (" …" if len(known) > _SHOWN else "")
    return f"the run has no {kind} {name!r}" + (f"; it has {shown}" if known else ""), nearest(name, known)


def _problem(place: Place, what: str, suggestion: str | None = None) -> Problem:
    return Problem(place.source, place.line, place.column, "", what, suggestion)
