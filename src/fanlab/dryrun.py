"""`fanlab plan`: all that can be said of a run before it runs. Pure, and byte for byte the same for the same seed."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fanlab.faults.timeline import PlannedFault, resolve
from fanlab.planned import Expected, expected
from fanlab.predict import Prediction, predict
from fanlab.redaction import Secrets
from fanlab.scenario.gates import in_force
from fanlab.scenario.loader import Loaded
from fanlab.scenario.model import Reader, Scenario
from fanlab.scenario.plan import GroupSpec, Plan, make_plan
from fanlab.scenario.redacted import redacted, secrets_of
from fanlab.scenario.shape import Value, values, with_unit
from fanlab.units import format_bytes, format_duration

_WIDEST = 44  # columns of a table's cell


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the timeline; `at_ns` from time 0."""

    at_ns: int
    what: str


@dataclass(frozen=True, slots=True)
class DryRun:
    """What a scenario comes to."""

    loaded: Loaded
    plan: Plan
    faults: tuple[PlannedFault, ...]
    steps: tuple[Step, ...]
    expected: tuple[Expected, ...]
    predictions: tuple[Prediction, ...]
    values: tuple[Value, ...]


def make_dryrun(loaded: Loaded) -> DryRun:
    """Work everything out, of the scenario without its secrets."""
    loaded = redacted(loaded, Secrets(secrets_of(loaded.scenario)))
    scenario = loaded.scenario
    plan = make_plan(scenario)
    faults = resolve(scenario, plan)
    return DryRun(
        loaded,
        plan,
        faults,
        tuple(_timeline(scenario, faults)),
        tuple(expected(scenario, plan)),
        tuple(predict(scenario, plan)),
        tuple(values(scenario)),
    )


def to_json(dryrun: DryRun) -> dict[str, Any]:
    """The same as plain data, for programs."""
    loaded = dryrun.loaded
    return {
        "schema_version": 1,
        "scenario": loaded.scenario.name,
        "source": loaded.source,
        "sha256": loaded.sha256,
        "seed": loaded.scenario.seed,
        "cell": loaded.cell,
        "plan": asdict(dryrun.plan),
        "timeline": [asdict(step) for step in dryrun.steps],
        "faults": [asdict(fault) for fault in dryrun.faults],
        "expected": [asdict(each) for each in dryrun.expected],
        "predictions": [asdict(each) for each in dryrun.predictions],
        "gates": in_force(loaded.scenario.gates),
        "values": {
            value.path: {"value": value.text, "origin": str(loaded.origins[value.path])} for value in dryrun.values
        },
    }


def render(dryrun: DryRun) -> str:
    """The dry run as plain text, ending in a line break."""
    loaded, scenario = dryrun.loaded, dryrun.loaded.scenario
    lines = [f"{scenario.name}: {_one_line(scenario.question)}"]
    if scenario.expect:
        lines.append(f"expected: {_one_line(scenario.expect)}")
    cell = "".join(f", {_one_line(path)}={_one_line(str(value))}" for path, value in loaded.cell.items())
    lines.append(f"{_one_line(loaded.source)}, seed {scenario.seed}{cell}, sha256 {loaded.sha256[:12]}")
    for title, section in (
        ("Processes", _processes(scenario, dryrun.plan)),
        ("Clients", _table([_group(dryrun, spec) for spec in dryrun.plan.groups])),
        ("Streams", _table([_stream(scenario, each, dryrun.plan) for each in dryrun.expected])),
        *((("Readers", _table([_reader(each) for each in scenario.readers])),) if scenario.readers else ()),
        ("Timeline", _table([[f"{step.at_ns / 1e9:+.3f}s", step.what] for step in dryrun.steps])),
        ("Deliveries expected in the measure phase", _deliveries(dryrun.expected)),
        ("Loss predicted", _losses(dryrun)),
        ("Gates", _gates(scenario)),
        ("Values and their origins", _table([_origin(loaded, value) for value in dryrun.values])),
    ):
        lines += ["", title, *(f"  {line}" for line in section)]
    return "\n".join(lines) + "\n"


def _gates(scenario: Scenario) -> list[str]:
    """Those written, and those that hold without being written."""
    written = [_one_line(gate) for gate in scenario.gates]
    return [gate if number < len(written) else f"{gate}  (implied)" for number, gate in enumerate(in_force(written))]


def _timeline(scenario: Scenario, faults: Sequence[PlannedFault]) -> list[Step]:
    """Phases and faults in order of time; what happens at the same time in the order in which it was put here."""
    phases = scenario.phases
    publishers = len(scenario.publishers)
    began = "warm-up: publishing begins" if phases.warm_up_ns else "publishing begins"
    steps = [
        Step(-phases.warm_up_ns, f"{began} ({publishers} {'entry' if publishers == 1 else 'entries'})"),
        Step(0, f"measure begins, for {format_duration(phases.measure_ns)}"),
    ]
    steps += [
        Step(group.join_ns, f"{group.count} clients of {group.group} begin to come")
        for group in scenario.clients
        if group.join_ns is not None
    ]
    for fault in faults:
        steps.append(Step(fault.at_ns, fault.name + ("" if fault.for_ns is not None else ", to the end")))
        if fault.for_ns:
            steps.append(Step(fault.at_ns + fault.for_ns, f"{fault.name}: heal"))
    drain = phases.drain
    quiet, deadline = format_duration(drain.quiet_ns), format_duration(drain.deadline_ns)
    steps.append(Step(phases.measure_ns, f"publishing ends; drain until quiet for {quiet}, at most {deadline}"))
    return sorted(steps, key=lambda step: step.at_ns)


def _processes(scenario: Scenario, plan: Plan) -> list[str]:
    redis = scenario.topology.redis
    rows = [["redis", "1 process" + _limits(redis.cpus, redis.memory_bytes)]]
    for node in plan.nodes:
        settings = _settings(node.env) + ("" if node.journal else ", no journal")
        rows.append([node.id, f"kind {node.kind}{settings}{_limits(node.cpus, node.memory_bytes)}"])
    if scenario.evidence.witness:
        rows.append(["witness", "a subscriber of fanlab's own, for the account"])
    rows.append(["load", "Locust workers (one unless --workers says more) and their engines"])
    return _table(rows)


def _limits(cpus: float | None, memory_bytes: int | None) -> str:
    cores = "" if cpus is None else f", at most {cpus:g} of a core" if cpus < 1 else f", at most {cpus:g} cores"
    return cores + ("" if memory_bytes is None else f", at most {format_bytes(memory_bytes)}")


def _settings(env: dict[str, str]) -> str:
    return "".join(f", {_one_line(name)}={_one_line(value)}" for name, value in env.items())


def _group(dryrun: DryRun, spec: GroupSpec) -> list[str]:
    group = dryrun.loaded.scenario.clients[spec.index]
    each, more = divmod(spec.count, len(spec.nodes))
    counts = [each + (turn < more) for turn in range(len(spec.nodes))]
    starts = [f"{dryrun.plan.nodes[node].id}: {count}" for node, count in zip(spec.nodes, counts, strict=True) if count]
    joins = "before publishing begins" if group.join_ns is None else f"from {format_duration(group.join_ns)}"
    come = f"{joins}, {with_unit('rate', group.spawn_rate_per_s)}"
    return [
        spec.name,
        f"{spec.count} clients",
        f"channels {', '.join(spec.channels)}",
        f"{group.failover}",
        f"come {come}",
        f"on {', '.join(starts)}",
    ]


def _stream(scenario: Scenario, each: Expected, plan: Plan) -> list[str]:
    publisher = scenario.publishers[plan.streams[each.stream].config]
    return [
        str(each.stream),
        each.publisher,
        f"channel {each.channel}",
        f"{publisher.rate.kind}",
        with_unit("size", publisher.payload_bytes)
        + ("" if publisher.objects is None else f", {publisher.objects} objects in turn"),
        f"{each.warm_up} messages in warm-up",
        f"{each.measure} in measure",
    ]


def _reader(reader: Reader) -> list[str]:
    nodes = "all nodes" if reader.nodes is None else ", ".join(reader.nodes)
    return [
        reader.name,
        f"objects on {reader.channel}",
        f"{with_unit('rate', reader.rate_per_s)} from {nodes} in turn",
        f"timeout {format_duration(reader.timeout_ns)}",
    ]


def _deliveries(streams: Iterable[Expected]) -> list[str]:
    streams = list(streams)
    rows = []
    for each in streams:
        whole = each.measure * each.subscribers
        late = (
            "" if each.deliveries == whole else f", less what goes by before late clients come: about {each.deliveries}"
        )
        rows.append([each.publisher, f"{each.measure} messages × {each.subscribers} subscribers = {whole}{late}"])
    rows.append(["all", f"{sum(each.deliveries for each in streams)}"])
    return _table(rows)


def _losses(dryrun: DryRun) -> list[str]:
    names = {fault.id: fault.name for fault in dryrun.faults}
    rows = []
    for each in dryrun.predictions:
        figure = "unknown" if each.predicted is None else f"{each.predicted:.0f}"
        rows.append([names[each.fault], figure, each.basis])
    return _table(rows) or ["nothing breaks, so nothing is lost"]


def _origin(loaded: Loaded, value: Value) -> list[str]:
    text = _one_line(value.text)
    shown = text if len(text) <= _WIDEST else text[: _WIDEST - 1] + "…"
    return [_one_line(value.path), shown, str(loaded.origins[value.path])]


def _one_line(text: str) -> str:
    """A text of the author's without line breaks and without characters that a terminal would obey."""
    return "".join(character for character in " ".join(text.split()) if character.isprintable())


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines, each column as wide as its widest cell; the last one, and very wide ones, run free."""
    if not rows:
        return []
    widths = [min(_WIDEST, max(len(row[column]) for row in rows)) for column in range(len(rows[0]))]
    return [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)), row[-1]]).rstrip()
        for row in rows
    ]
