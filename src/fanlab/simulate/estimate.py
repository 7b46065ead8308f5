"""From what runs tell to a model: service times by least squares over the CPU that they used, waits by their quantiles.

The work of a server is linear in what it does: idle + messages × a + writes × b, none below 0. What the runs do not
vary they do not tell apart; then it is put where it does most harm to a forecast, and a note says so. Pure and seeded.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fanlab.clock import NS_PER_S
from fanlab.errors import MeasurementError
from fanlab.noise import host_key
from fanlab.simulate.model import Costs, Delay, Delays, Estimate, Floats, Model, Range
from fanlab.simulate.observed import NO_FLOATS, Observed, Usage
from fanlab.simulate.parts import generator

RESAMPLES: Final = 400
_VARIES: Final = 1.5  # the largest over the smallest, from which on a line through them means something
_ENOUGH: Final = 50  # fan-outs of a size, to take their median
_MOST: Final = 200_000  # samples of a delay


def estimate(runs: Sequence[Observed], *, base: Model | None = None, seed: int = 1) -> Model:
    """A model of these runs. What none of them shows (a node's restart, say) comes from `base`, with a note.

    Raises MeasurementError where there is too little to measure, and for runs of more than one system or machine.
    """
    _refuse_mixed(runs)
    hops = np.concatenate([run.hop_ns for run in runs])
    if len(hops) < _ENOUGH:
        raise MeasurementError(
            f"{len(hops)} fan-outs in the calm of these runs are too few to measure by",
            hint="give runs with more messages, or with less broken",
        )
    notes = [
        f"{run.about['scenario']}: an invalid run, whose figures may be the machine's: {run.about['invalid'][0]}"
        for run in runs
        if run.about["invalid"]
    ]
    random = generator(seed, "estimate")
    delivery = _delivery(np.concatenate([run.fanout for run in runs]), hops, random, notes)
    message = _message([one for run in runs for one in run.node], delivery, random, notes)
    publish, send = _redis([one for run in runs for one in run.redis], random, notes)
    node_base, connection = _memory([one for run in runs for one in run.rss_bytes], random, notes)
    receive = _mean(np.concatenate([run.receive_ns for run in runs]), random)
    costs = Costs(publish, send, message, delivery, receive, node_base, connection)
    return Model(
        costs,
        _delays(runs, costs, base, random, notes),
        Range(
            nodes=max(run.nodes for run in runs),
            clients_per_node=max(int(run.clients.max(initial=0)) for run in runs),
            publishes_per_s=max(run.publishes_per_s for run in runs),
            deliveries_per_s=max(run.deliveries_per_s for run in runs),
            payload_bytes=max(run.payload_bytes for run in runs),
        ),
        tuple(notes),
        tuple(run.about for run in runs),
    )


def _refuse_mixed(runs: Sequence[Observed]) -> None:
    """What one hop costs is a figure of one system on one machine."""
    told = {
        "kinds of nodes": {", ".join(run.about["kinds"]) for run in runs},
        "backends": {str(run.about["backend"]) for run in runs},
        "machines": {_machine(run.about["host"]) for run in runs},
    }
    for what, found in told.items():
        if len(found) > 1:
            raise MeasurementError(
                f"these runs are of {len(found)} {what}: {'; '.join(sorted(found))}",
                hint="make a model of each by itself: `fanlab model RUN…`",
            )


def _machine(host: Mapping[str, Any]) -> str:
    """What makes it another one, to be read."""
    what = f"{host.get('cores')} cores of {host.get('processor') or host.get('machine')}"
    return f"{what}, {host.get('memory_bytes')} bytes ({host_key(host)})"


def least_squares(columns: Floats, values: Floats) -> Floats:
    """The x >= 0 that brings columns · x nearest to values: of few columns, so that each choice is tried."""
    best, error = np.zeros(columns.shape[1]), float(np.sum(values**2))
    for size in range(1, columns.shape[1] + 1):
        for chosen in combinations(range(columns.shape[1]), size):
            part, *_ = np.linalg.lstsq(columns[:, chosen], values, rcond=None)
            if (part >= 0).all():
                left = float(np.sum((columns[:, chosen] @ part - values) ** 2))
                if left < error * (1 - 1e-12):
                    best, error = np.zeros(columns.shape[1]), left
                    best[list(chosen)] = part
    return best


def interval(
    fit: Callable[[NDArray[np.int64]], Floats], count: int, random: np.random.Generator
) -> tuple[Estimate, ...]:
    """Each figure that `fit` makes of a choice of `count` samples, with the 95 % interval of its resamples."""
    value = fit(np.arange(count))
    again = np.array([fit(random.integers(0, count, count)) for _ in range(RESAMPLES)])
    low, high = np.percentile(again, (2.5, 97.5), axis=0)
    return tuple(
        Estimate(float(v), float(min(v, at_least)), float(max(v, at_most)), count)
        for v, at_least, at_most in zip(value, low, high, strict=True)
    )


def _varies(values: Floats) -> bool:
    positive = values[values > 0]
    return len(positive) > 1 and float(positive.max()) >= _VARIES * float(positive.min())


def _delivery(fanout: Floats, hop_ns: Floats, random: np.random.Generator, notes: list[str]) -> Estimate:
    """A node's time for each client that it writes to: the slope over the sizes of fan-outs, of their medians."""
    sizes = [size for size in np.unique(fanout) if np.count_nonzero(fanout == size) >= _ENOUGH]
    if not _varies(np.array(sizes)):
        notes.append("node_delivery_ns: fan-outs of one size, so that what a fan-out costs by itself is in it")

        def ratio(chosen: NDArray[np.int64]) -> Floats:
            return np.array([np.median(hop_ns[chosen] / fanout[chosen])])

        return interval(ratio, len(hop_ns), random)[0]

    def slope(chosen: NDArray[np.int64]) -> Floats:
        picked = fanout[chosen]
        medians = np.array([np.median(hop_ns[chosen][picked == size]) for size in sizes])
        weight = 1 / np.maximum(medians, 1.0)  # relative errors, lest the largest alone decide
        columns = np.column_stack([np.ones(len(sizes)), np.array(sizes)])
        return least_squares(columns * weight[:, None], medians * weight)[1:]

    return interval(slope, len(hop_ns), random)[0]


def _message(usage: Sequence[Usage], delivery: Estimate, random: np.random.Generator, notes: list[str]) -> Estimate:
    """A node's time for each message beside its deliveries: what CPU is left, idling taken off if rates vary."""
    rows = np.array(usage, np.float64).reshape(-1, 3)
    if not len(rows):
        raise MeasurementError("samples.csv has no CPU of a node in the calm of these runs", hint="give longer runs")
    idle = _varies(rows[:, 0])
    if not idle:
        notes.append("node_message_ns: one rate, so that what a node uses when idle is in it")

    def fit(chosen: NDArray[np.int64]) -> Floats:
        part = rows[chosen]
        columns = np.column_stack([part[:, 0] / NS_PER_S, np.ones(len(part))])[:, : 1 + idle]
        return least_squares(columns, np.maximum(part[:, 2] - part[:, 1] * delivery.value / NS_PER_S, 0.0))[:1]

    return interval(fit, len(rows), random)[0]


def _redis(usage: Sequence[Usage], random: np.random.Generator, notes: list[str]) -> tuple[Estimate, Estimate]:
    """Redis' time for each publish, and for each subscriber that it writes to."""
    rows = np.array(usage, np.float64).reshape(-1, 3)
    rows = rows[rows[:, 0] > 0]
    if not len(rows):
        raise MeasurementError("samples.csv has no CPU of Redis in the calm of these runs", hint="give longer runs")
    apart, idle = _varies(rows[:, 1] / rows[:, 0]), _varies(rows[:, 0])
    if not apart:
        notes.append("redis_publish_ns, redis_send_ns: one number of subscribers, so that they are taken as equal")
    if not idle:
        notes.append("redis_publish_ns: one rate, so that what Redis uses when idle is in it")

    def fit(chosen: NDArray[np.int64]) -> Floats:
        part = rows[chosen] / (NS_PER_S, NS_PER_S, 1)
        work = part[:, :2] if apart else part[:, :2].sum(axis=1, keepdims=True)
        columns = np.column_stack([work, np.ones(len(part))]) if idle else work
        found = least_squares(columns, part[:, 2])
        return found[:2] if apart else np.array([found[0], found[0]])

    publish, send = interval(fit, len(rows), random)
    return publish, send


def _memory(
    rss: Sequence[tuple[int, float]], random: np.random.Generator, notes: list[str]
) -> tuple[Estimate, Estimate]:
    """A node's memory without clients, and for each of them."""
    rows = np.array(rss, np.float64).reshape(-1, 2)
    rows = rows[rows[:, 0] > 0]
    if not len(rows):
        raise MeasurementError("samples.csv has no memory of a node in these runs", hint="give longer runs")
    apart = _varies(rows[:, 0])
    if not apart:
        notes.append("connection_bytes: nodes of one size, so that all their memory is taken for their clients'")

    def fit(chosen: NDArray[np.int64]) -> Floats:
        part = rows[chosen]
        if not apart:
            return np.array([0.0, np.mean(part[:, 1] / part[:, 0])])
        return least_squares(np.column_stack([np.ones(len(part)), part[:, 0]]), part[:, 1])

    base, connection = interval(fit, len(rows), random)
    return base, connection


def _mean(values: Floats, random: np.random.Generator) -> Estimate:
    if not len(values):
        return Estimate(0.0, 0.0, 0.0, 0)
    return interval(lambda chosen: np.array([values[chosen].mean()]), len(values), random)[0]


def _delays(
    runs: Sequence[Observed], costs: Costs, base: Model | None, random: np.random.Generator, notes: list[str]
) -> Delays:
    def all_of(name: str) -> Floats:
        return np.concatenate([getattr(run, name) for run in runs])

    def taken(name: str) -> Delay:
        values = all_of(f"{name}_ns")
        if len(values):
            return _delay(values, random, memory_ns(name))
        notes.append(f"{name}: no run shows it" + ("" if base is None else ", so that it is the default model's"))
        return Delay.of(values) if base is None else getattr(base.delays, name)

    def memory_ns(name: str) -> float:
        lines = np.concatenate([run.memory_ns.get(name, NO_FLOATS) for run in runs])
        return float(np.median(lines)) if len(lines) else 0.0

    send_ns, publish_ns = costs.redis_send_ns.value, costs.redis_publish_ns.value
    away = [run.redis_ns - send_ns * (1 + np.median(run.receivers)) / 2 for run in runs if len(run.redis_ns)]
    return Delays(
        schedule=taken("schedule"),
        redis=_delay(np.concatenate(away) - publish_ns, random, memory_ns("redis")),
        reply=_delay(all_of("reply_ns") - publish_ns - send_ns * all_of("receivers"), random),
        stall=_delay(all_of("hop_ns") - costs.node_delivery_ns.value * all_of("fanout"), random),
        client=taken("client"),
        connect=taken("connect"),
        subscribe=taken("subscribe"),
        resubscribe=taken("resubscribe"),
        rejoin=taken("rejoin"),
        node_start=taken("node_start"),
        notice=taken("notice"),
    )


def _delay(values_ns: Floats, random: np.random.Generator, memory_ns: float = 0.0) -> Delay:
    few = values_ns if len(values_ns) <= _MOST else random.choice(values_ns, _MOST, replace=False)
    return Delay.of(few, memory_ns)
