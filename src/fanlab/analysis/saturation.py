"""What was busy when a load was too much: every part with a limit that is known, and how much of it was used. Pure.

A process does no more than one core's worth, as Redis and most nodes have one thread that matters; where a container
has a limit, that is the whole of it, and it is used up, too, where the kernel held the container back all the time.
What was busy for at least 85 % of the measure phase is named, the busiest first.
The machine is a part as well, and the node, Redis and the generator share it. Where nothing was busy, something waits:
then the hop in which the time went is all that can be said.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from fanlab.analysis.build import Sample
from fanlab.analysis.expected import messages_due
from fanlab.clock import NS_PER_S

PartKind = Literal["redis", "node", "link", "machine", "generator"]

BUSY: Final = 0.85
_OWN_SHARE: Final = 0.5  # of a busy machine's work that must be this run's, or it is others who have the machine
_LOAD = ("load-", "witness")
_FIRST_S = 0.25  # a sample speaks of the half second before it
_HOPS: Final = {
    "schedule": "between a message's intended time and its sending: the generator",
    "redis": "between sending and the node's receiving: publisher, Redis, or a node that is slow to read",
    "node": "inside the nodes, between receiving a message and handing it to the last client",
    "client": "between a node's handing over and the client's receiving: sockets, or clients that are slow to read",
}


@dataclass(frozen=True, slots=True)
class Part:
    """Something with a limit: its use is a share of that limit, over the measure phase."""

    kind: PartKind
    name: str  # "redis", "node-2", "node-1's link to its clients", "machine", "load-1/clients"
    use: float
    figures: str  # "0.19 of 0.2 cores"

    @property
    def words(self) -> str:
        """What it is, for a sentence."""
        match self.kind:
            case "redis":
                return "Redis' core"
            case "node":
                return f"{self.name}'s core"
            case "machine":
                return "the machine as a whole, which nodes, Redis and the generator share"
            case "generator":
                return f"the load generator ({self.name})"
            case "link":
                return self.name


@dataclass(frozen=True, slots=True)
class Saturation:
    """Every part, the busiest first. `named` is the first if it was busy, `next` the one after it, busy or not."""

    parts: tuple[Part, ...]
    named: Part | None
    next: Part | None
    slowest_hop: str | None
    caveat: str | None = None

    @property
    def sentence(self) -> str:
        """What saturated, with its figures, and what is next in line."""
        rank = "Next in line" if self.named else "The busiest part"
        after = f" {rank}: {self.next.words}, {self.next.use:.0%} ({self.next.figures})." if self.next else ""
        after += f" {self.caveat}" if self.caveat else ""
        if self.named is not None:
            only = " So the load is more than can be measured here." if self.named.kind == "generator" else ""
            return f"{_capital(self.named.words)}: {self.named.use:.0%} ({self.named.figures}).{only}{after}"
        hop = f" Most of the time goes {_HOPS[self.slowest_hop]}." if self.slowest_hop else ""
        return f"Nothing that was measured was busy, so something waits for what is no CPU.{hop}{after}"


def saturation(samples: Iterable[Sample], manifest: Mapping[str, Any], summary: Mapping[str, Any]) -> Saturation:
    """What was busy in a run, from its samples, its manifest and its summary."""
    measure_s = manifest["scenario"]["phases"]["measure_ns"] / NS_PER_S
    means = _means(samples, measure_s)
    found = [*_processes(means, manifest), *_machine(means, manifest), *_links(manifest)]
    parts = tuple(sorted(found, key=lambda part: -part.use))
    named = parts[0] if parts and parts[0].use >= BUSY else None
    following = next((part for part in parts if part is not named), None)
    return Saturation(parts, named, following, _slowest_hop(summary), _others(means, manifest))


def _means(samples: Iterable[Sample], measure_s: float) -> dict[tuple[str, str], float]:
    """The mean of each metric and unit over the measure phase."""
    values: dict[tuple[str, str], list[float]] = {}
    for sample in samples:
        if _FIRST_S <= sample.t_s <= measure_s + _FIRST_S and sample.metric in ("cpu", "busy", "throttled"):
            values.setdefault((sample.metric, sample.unit), []).append(sample.value)
    return {key: sum(of_unit) / len(of_unit) for key, of_unit in values.items()}


def _processes(means: Mapping[tuple[str, str], float], manifest: Mapping[str, Any]) -> list[Part]:
    """Redis, each node and each process of the generator. A unit's children are looked at on their own, and summed."""
    limits = {node["id"]: node.get("cpus") for node in manifest["plan"]["nodes"]}
    limits["redis"] = manifest["scenario"]["topology"]["redis"].get("cpus")
    used: dict[str, list[float]] = {}
    for (metric, unit), cpu in means.items():
        if metric == "cpu":
            name = unit if unit.startswith(_LOAD) else unit.split("/", maxsplit=1)[0]
            used.setdefault(name, []).append(cpu)
    return [
        _process(name, cpus, limits.get(name), means.get(("throttled", name), 0.0))
        for name, cpus in used.items()
        if name in limits or _is_load(name)
    ]


def _process(name: str, cpus: Sequence[float], limit: float | None, held_back: float) -> Part:
    """`held_back`: the share of the kernel's periods in which its limit was used up."""
    kind: PartKind = "redis" if name == "redis" else "generator" if _is_load(name) else "node"
    busiest, total = max(cpus), sum(cpus)
    if limit is None or max(total / limit, held_back) < busiest:
        return Part(kind, name, busiest, f"{busiest:.2f} of one core")
    figures = f"{total:.3g} of {limit:g} {'core' if limit == 1 else 'cores'} that it may use"
    if held_back > total / limit:
        return Part(kind, name, held_back, f"{figures}, used up in {held_back:.0%} of the kernel's periods")
    return Part(kind, name, total / limit, figures)


def _machine(means: Mapping[tuple[str, str], float], manifest: Mapping[str, Any]) -> list[Part]:
    busy, cores = means.get(("busy", "machine")), (manifest.get("host") or {}).get("cores")
    if busy is None or not cores:
        return []
    ours = sum(cpu for (metric, _), cpu in means.items() if metric == "cpu")
    if ours < _OWN_SHARE * busy * cores:
        return []
    return [Part("machine", "machine", busy, f"{busy * cores:.2f} of {cores} cores, {ours:.2f} of them by this run")]


def _others(means: Mapping[tuple[str, str], float], manifest: Mapping[str, Any]) -> str | None:
    """That somebody else had the machine, if so: then what was busy in this run may not be what was short."""
    busy = means.get(("busy", "machine"), 0.0)
    if busy < BUSY or _machine(means, manifest):
        return None
    return f"Others kept this machine busy ({busy:.0%} of all cores): run again when it is quiet."


def _links(manifest: Mapping[str, Any]) -> list[Part]:
    """Links whose bandwidth the scenario limits for all of the measure phase; of others no limit is known."""
    phases = manifest["scenario"]["phases"]
    found = []
    for fault in manifest.get("faults") or ():
        lasts = fault["at_ns"] == 0 and not 0 < (fault["for_ns"] or 0) < phases["measure_ns"]
        if fault["kind"] != "bandwidth" or not lasts:
            continue
        settings = fault["settings"]
        sent, limit = _bytes_per_s(manifest["scenario"], settings["link"]), settings["bytes_per_s"]
        name = f"{fault['target']}'s link to {'its clients' if settings['link'] == 'clients' else 'Redis'}"
        figures = f"{sent / 1000:.3g} of {limit / 1000:g} kB/s of payload on a connection, at least"
        found.append(Part("link", name, sent / limit, figures))
    return found


def _bytes_per_s(scenario: Mapping[str, Any], link: str) -> float:
    """Payload on one connection: a node's to Redis has all channels, a client's its group's, of the busiest group."""
    phases = scenario["phases"]
    first, last = phases["warm_up_ns"], phases["warm_up_ns"] + phases["measure_ns"]
    on_channel: dict[str, float] = {}
    for publisher in scenario["publishers"]:
        due = publisher["count"] * messages_due(publisher["rate"], first, last) * publisher["payload_bytes"]
        channel = publisher["channel"]
        on_channel[channel] = on_channel.get(channel, 0.0) + due / (phases["measure_ns"] / NS_PER_S)
    if link == "redis":
        return sum(on_channel.values())
    return max(
        (sum(on_channel.get(channel, 0.0) for channel in group["channels"]) for group in scenario["clients"]),
        default=0.0,
    )


def _slowest_hop(summary: Mapping[str, Any]) -> str | None:
    """The hop with the greatest median, of those that were measured."""
    medians = {hop: block["p50"] for hop, block in summary["hops_ms"].items() if block["p50"] is not None}
    return max(medians, key=lambda hop: medians[hop]) if medians else None


def _is_load(name: str) -> bool:
    return name.startswith(_LOAD)


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]
