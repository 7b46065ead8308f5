"""The objective of a search: gates joined by `and`, as `latency.p99 < 100ms and loss.ratio == 0`. Pure."""

import re
from collections.abc import Iterator

from fanlab.errors import Problem, ScenarioError
from fanlab.scenario.findings import World, world_of
from fanlab.scenario.gatechecks import no_subject
from fanlab.scenario.gates import Gate, GateError, parse_gate
from fanlab.scenario.model import Scenario

_AND = re.compile(r"(?i)(?<!\S)and(?!\S)")
_OPTION = "--slo"


def parse_slo(text: str, scenario: Scenario | None = None) -> list[Gate]:
    """The gates that all must hold. Raises ScenarioError with every problem, at its column in the text.

    A gate about a node, channel, group or fault that `scenario` does not have is one: it would hold of no load.
    """
    world = None if scenario is None else world_of(scenario)
    gates: list[Gate] = []
    problems: list[Problem] = []
    start = 0
    ends = [match.span() for match in _AND.finditer(text)]
    for end, following in [*ends, (len(text), len(text))]:
        part = text[start:end]
        column = start + len(part) - len(part.lstrip()) + 1
        if not part.strip():
            what = "a gate is missing here; write it as field op number, as latency.p99 < 100ms"
            problems.append(Problem(_OPTION, 1, min(column, len(text) + 1), "", what))
        else:
            try:
                gate = parse_gate(part)
            except GateError as error:
                problems.append(Problem(_OPTION, 1, column, "", error.what, error.suggestion))
            else:
                gates.append(gate)
                problems += _senseless(gate, column, world)
        start = following
    if problems:
        raise ScenarioError(problems)
    return gates


def _senseless(gate: Gate, column: int, world: World | None) -> Iterator[Problem]:
    """What makes a gate none for an objective."""
    if gate.abort_after_ns is not None:
        yield Problem(_OPTION, 1, column, "", "an objective is judged when a run has ended: leave out `else abort`")
    for finding in no_subject((), gate, world) if world is not None else ():
        yield Problem(_OPTION, 1, column, "", finding.what, finding.suggestion)
