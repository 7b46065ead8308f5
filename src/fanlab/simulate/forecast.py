"""`fanlab forecast`: how many nodes and Redis shards so many clients take at a rate, within an SLO. Pure.

The smallest number of nodes is sought with which a simulation meets the SLO and no core is busier than it may be; once
with the model's costs, and once with each end of their intervals, which gives the interval of the answer. Unless it is
forced, no node is planned larger than FAR times those that the model was measured with: more of them then do it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Final

from fanlab.errors import MeasurementError
from fanlab.scenario.gates import Gate, describe, evaluate
from fanlab.scenario.model import ClientGroup, PoissonRate, Publisher, Scenario, Topology
from fanlab.simulate.model import Costs, Estimate, Model
from fanlab.simulate.scaled import shares, simulate_cohorts
from fanlab.simulate.tally import Figures

FAR: Final = 2.0  # past so many times what was measured it is a guess
FRAME_BYTES: Final = 4  # RFC 6455: a server's header before 126 to 65535 bytes
PACKET_BYTES: Final = 66  # Ethernet 14, IPv4 20, TCP 32 with time stamps; a message goes in one packet
MOST_NODES: Final = 100_000
_MESSAGES: Final = 400  # simulated for each answer, over all channels
_WARM_UP_SHARE: Final = 0.2
_GROUND: Final = ("latency_ms.", "loss.ratio", "ledger.lost", "ledger.delivered", "ledger.owed", "ledger.published")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked. Clients are spread evenly over channels; each channel has the rate."""

    clients: int
    rate_per_s: float
    slo: tuple[Gate, ...]
    payload_bytes: int = 128
    channels: int = 1
    busy: float = 0.7  # of a core, at most
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Size:
    """One answer: of the model's costs, or of one end of their intervals."""

    nodes: int
    shards: int
    node_memory_bytes: float
    memory_bytes: float
    node_busy: float
    redis_busy: float  # of the busiest shard
    latency_ms: dict[str, float | None]


@dataclass(frozen=True, slots=True)
class Forecast:
    """The answer with its interval. `far` is what of it lies past FAR times the measured range; then it is a guess.

    `high` is None where the upper end of the costs has no answer, for the reason `no_high`.
    """

    wanted: Wanted
    size: Size
    low: Size
    high: Size | None
    no_high: str
    egress_bytes_per_s: float  # of all nodes, to clients
    redis_egress_bytes_per_s: float  # to the nodes
    far: tuple[str, ...]
    assumptions: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def refuse_untold(slo: Sequence[Gate]) -> None:
    """Raises ValueError for gates on what no simulation tells, all of them at once."""
    untold = [gate.field for gate in slo if not gate.field.startswith(_GROUND)]
    if untold:
        what = f"{' and '.join(untold)} {'is' if len(untold) == 1 else 'are'} nothing that a forecast tells"
        raise ValueError(f"--slo: {what}; it knows latency, loss.ratio and ledger")


def forecast(wanted: Wanted, model: Model, *, force: bool = False) -> Forecast:
    """The answer. Raises MeasurementError where there is none, and for one past FAR times the range unless `force`."""
    size = _size(wanted, model, "value", force=force)
    low, high, no_high = _size(wanted, model, "low", force=force), None, ""
    try:
        high = _size(wanted, model, "high", force=force)
    except MeasurementError as error:
        no_high = error.message
    found = [size, low] if high is None else [size, low, high]
    far = tuple(dict.fromkeys(one for each in found for one in _far(wanted, each.nodes, model)))
    deliveries_per_s = wanted.rate_per_s * wanted.clients
    per_message = wanted.payload_bytes + FRAME_BYTES + PACKET_BYTES
    sends_per_s = wanted.rate_per_s * wanted.channels * size.nodes
    return Forecast(
        wanted, size, low, high, no_high,
        egress_bytes_per_s=deliveries_per_s * per_message,
        redis_egress_bytes_per_s=sends_per_s * (wanted.payload_bytes + PACKET_BYTES),
        far=far,
        assumptions=_assumptions(wanted, model, force=force),
    )  # fmt: skip


def _size(wanted: Wanted, model: Model, end: str, *, force: bool) -> Size:
    """The least number of nodes that meets it, with the costs at that end of their intervals."""
    costs = Costs(**{one.name: _fixed(getattr(getattr(model.costs, one.name), end)) for one in fields(Costs)})
    model = replace(model, costs=costs)
    per_message = wanted.rate_per_s * wanted.channels * costs.node_message_ns.value / 1e9
    work = wanted.rate_per_s * wanted.clients * costs.node_delivery_ns.value / 1e9
    if per_message >= wanted.busy:
        raise MeasurementError(
            f"each node gets {wanted.rate_per_s * wanted.channels:g} messages a second, which keeps it busy for"
            f" {per_message:.0%} of a core without any client: no number of nodes is enough",
            hint="spread channels over nodes, or publish less",
        )
    least, most = max(1, math.ceil(work / (wanted.busy - per_message))), float(MOST_NODES)
    if not force:
        least, most = max(least, _for_no_larger_nodes(wanted, model)), FAR * model.range.nodes
    _refuse_what_waits_too_long(wanted, model, least)
    if not force:
        _refuse_far(wanted, model, least)
    met, tried = _first_that_meets(wanted, model, least, min(math.floor(most), wanted.clients))
    low = least if met == least else tried
    while met - low > max(1, met // 50):  # within 2 %: the model knows no better
        middle = (met + low) // 2
        if _meets(wanted, model, middle) is None:
            low = middle
        else:
            met = middle
    figures = _meets(wanted, model, met)
    if figures is None:  # a simulation is the same each time
        raise AssertionError(f"{met} nodes met the SLO and no longer do")
    return Size(
        nodes=met,
        shards=_shards(wanted, costs, met),
        node_memory_bytes=figures.node_memory_bytes,
        memory_bytes=costs.node_base_bytes.value * met + costs.connection_bytes.value * wanted.clients,
        node_busy=figures.node_busy,
        redis_busy=figures.redis_busy,
        latency_ms=figures.latency_ms,
    )


def _for_no_larger_nodes(wanted: Wanted, model: Model) -> int:
    """How many nodes it takes for none to be larger than FAR times those that were measured."""
    largest = min(FAR * model.range.clients_per_node, FAR * model.range.deliveries_per_s / wanted.rate_per_s)
    return math.ceil(wanted.clients / max(1, math.floor(largest)))


def _refuse_what_waits_too_long(wanted: Wanted, model: Model, nodes: int) -> None:
    """Raises MeasurementError where the SLO is missed though no server has any work: more of them do not help."""
    idle = {
        one.name: _fixed(0.0) if one.name.endswith("_ns") else getattr(model.costs, one.name) for one in fields(Costs)
    }
    told = _told(simulate_cohorts(_scenario(wanted, nodes), replace(model, costs=Costs(**idle))))
    missed = [(gate, one.actual) for gate in wanted.slo if not (one := evaluate(gate, told)).ok]
    if missed:
        said = " and ".join(f"`{gate.expr}` is {describe(gate, actual)}" for gate, actual in missed)
        raise MeasurementError(
            f"no number of nodes is enough: the model's waits alone, of servers without work, are too long: {said}",
            hint="measure a model where less runs beside the system (`fanlab model RUN…`), or ask for less",
        )


def _refuse_far(wanted: Wanted, model: Model, nodes: int) -> None:
    far = _far(wanted, nodes, model)
    if far:
        raise MeasurementError(
            f"a forecast would go past {FAR:g} times what the model was measured at: {'; '.join(far)}",
            hint="measure a model nearer to that (`fanlab model RUN…`), or take a guess with --force",
        )


def _first_that_meets(wanted: Wanted, model: Model, least: int, most: int) -> tuple[int, int]:
    """Some number of nodes that meets it, and the one tried before. Raises MeasurementError where none does."""
    nodes = before = least
    while _meets(wanted, model, nodes) is None:
        if nodes >= most:
            told = " and ".join(gate.expr for gate in wanted.slo)
            further = most < min(MOST_NODES, wanted.clients)
            raise MeasurementError(
                f"no number of nodes up to {most:,} meets `{told}` with this model",
                hint=f"more than {FAR:g} times what it was measured with are tried with --force only"
                if further
                else "its waits leave too little of that for any work: see `fanlab model`",
            )
        before, nodes = nodes, min(most, math.ceil(nodes * 1.25) + 1)
    return nodes, before


def _meets(wanted: Wanted, model: Model, nodes: int) -> Figures | None:
    """What so many nodes come to, if that meets the SLO with no core too busy."""
    shards = _shards(wanted, model.costs, nodes)
    faster = {name: _fixed(getattr(model.costs, name).value / shards) for name in ("redis_publish_ns", "redis_send_ns")}
    figures = simulate_cohorts(_scenario(wanted, nodes), replace(model, costs=replace(model.costs, **faster)))
    told = _told(figures)
    planned = wanted.rate_per_s * (model.costs.node_message_ns.value * wanted.channels)
    planned += wanted.rate_per_s * model.costs.node_delivery_ns.value * math.ceil(wanted.clients / nodes)
    idle_enough = planned / 1e9 <= wanted.busy * 1.001
    return figures if idle_enough and all(evaluate(gate, told).ok for gate in wanted.slo) else None


def _told(figures: Figures) -> Mapping[str, Any]:
    """What an SLO may be about, as summary.json has it."""
    ledger = {name: getattr(figures, name) for name in ("published", "owed", "delivered", "lost")}
    ratio = figures.lost / figures.owed if figures.owed else None
    return {"latency_ms": figures.latency_ms, "loss": {"ratio": ratio}, "ledger": ledger}


def _shards(wanted: Wanted, costs: Costs, nodes: int) -> int:
    """How many Redis servers the channels are to be spread over."""
    of_channel = wanted.rate_per_s * (costs.redis_publish_ns.value + costs.redis_send_ns.value * nodes) / 1e9
    if of_channel > wanted.busy:
        raise MeasurementError(
            f"one channel's messages to {nodes:,} nodes keep a Redis busy for {of_channel:.0%} of a core",
            hint="a channel cannot be spread over shards: divide it, or use fewer and larger nodes",
        )
    return max(1, math.ceil(of_channel * wanted.channels / wanted.busy))


def _scenario(wanted: Wanted, nodes: int) -> Scenario:
    """So many messages of that rate, with everybody there from the start."""
    measure_ns = round(_MESSAGES / (wanted.rate_per_s * wanted.channels) * 1e9)
    names = [f"channel-{number + 1}" for number in range(wanted.channels)]
    rate = PoissonRate(kind="poisson", rate=f"{wanted.rate_per_s}/s")
    template = Scenario(
        name="forecast",
        question="How many nodes does it take?",
        seed=wanted.seed,
        topology=Topology.model_validate({"nodes": {"count": 1}}),
        channels=names,
        clients=[ClientGroup(group=name, count=1, channels=[name]) for name in names],
        publishers=[Publisher(name=name, channel=name, rate=rate) for name in names],
    )
    phases = template.phases.model_copy(
        update={"warm_up_ns": round(measure_ns * _WARM_UP_SHARE), "measure_ns": measure_ns}
    )
    group = template.topology.nodes[0].model_copy(update={"count": nodes})
    clients = [
        one.model_copy(update={"count": count})
        for one, count in zip(template.clients, shares([1] * wanted.channels, wanted.clients), strict=True)
    ]
    publishers = [one.model_copy(update={"payload_bytes": wanted.payload_bytes}) for one in template.publishers]
    topology = template.topology.model_copy(update={"nodes": [group]})
    update = {"phases": phases, "topology": topology, "clients": clients, "publishers": publishers}
    return template.model_copy(update=update)


def _far(wanted: Wanted, nodes: int, model: Model) -> Sequence[str]:
    """Where an answer of so many nodes lies past FAR times what was measured."""
    measured, per_node = model.range, math.ceil(wanted.clients / nodes)
    asked = {
        "nodes": (nodes, measured.nodes),
        "clients on a node": (per_node, measured.clients_per_node),
        "publishes a second": (wanted.rate_per_s * wanted.channels, measured.publishes_per_s),
        "deliveries a second of a node": (wanted.rate_per_s * per_node, measured.deliveries_per_s),
        "bytes in a message": (wanted.payload_bytes, measured.payload_bytes),
    }
    return [
        f"{value:,.4g} {what}, measured up to {most:,.4g}"
        for what, (value, most) in asked.items()
        if value > FAR * most
    ]


def _assumptions(wanted: Wanted, model: Model, *, force: bool) -> tuple[str, ...]:
    size = "of any size" if force else f"no larger than {FAR:g} times those that were measured"
    hosts = sorted(
        {f"{run['host']['cores']} cores of {run['host']['machine']}" for run in model.measured if "host" in run}
    )
    measured_on = f"costs and waits as in the model, measured on {', '.join(hosts) or 'an unknown machine'}"
    return (
        f"{measured_on}; whatever ran beside the system there made its waits longer",
        f"a node is one process on a core of its own, and no core is to be busier than {wanted.busy:.0%}",
        f"nodes are {size}",
        f"clients are spread evenly over nodes and over {wanted.channels} channel(s); every node has clients of each",
        "messages come independently of each other (Poisson); nothing breaks",
        "shards are as many Redis servers, each with whole channels; simulated as one that is so much faster",
        f"on the wire a message has {FRAME_BYTES} bytes of WebSocket header, {PACKET_BYTES} of Ethernet, IP and TCP",
        "no link is full, and clients take in what comes",
        *model.notes,
    )


def _fixed(value: float) -> Estimate:
    return Estimate(value, value, value, 1)
