"""The journals of a run that never was, of any size: what the account and the report cost can be measured on it."""

from dataclasses import asdict, dataclass

import numpy as np

from fanlab import __version__, clock, provenance
from fanlab.ledger.records import DELIVERY_DTYPE, INTENT_DTYPE, OUTCOME_DTYPE
from fanlab.ledger.stripe import Kind, StripeWriter
from fanlab.rundir import RunDir, write_json
from fanlab.scenario.model import Scenario
from fanlab.scenario.plan import make_plan

ZERO_NS = 10**12
MS = 10**6
EVERY_MS = 10
ROUND = 1000  # messages that are written at a time


@dataclass(frozen=True, slots=True)
class Size:
    """How large. Each channel has one publisher; messages are spread over them; every k-th delivery is lost."""

    clients: int = 10_000
    messages: int = 1000
    channels: int = 1
    per_client: int = 1  # channels of each client: its own number and the ones after it
    nodes: int = 1
    lost: float = 0.0

    @property
    def owed(self) -> int:
        """Deliveries that are due, give or take the last round over the channels."""
        return self.clients * self.per_client * self.messages // self.channels


def make(rundir: RunDir, size: Size) -> int:
    """Write the run; returns how many deliveries it holds."""
    channels = [f"c{number}" for number in range(size.channels)]
    groups = groups_of(size)
    scenario = Scenario.model_validate(
        {
            "name": "made-up",
            "question": "What does the account cost?",
            "topology": {"nodes": {"count": size.nodes}},
            "channels": channels,
            "clients": [
                {"group": f"g{first}", "count": count, "channels": [channels[number] for number in own]}
                for first, count, own in groups
            ],
            "publishers": [
                {"name": f"p{number}", "channel": channel, "rate": f"{1000 // EVERY_MS}/s"}
                for number, channel in enumerate(channels)
            ],
        }
    )
    end_ns = ZERO_NS + (size.messages // size.channels + 1) * EVERY_MS * MS
    write_json(rundir.manifest, manifest(scenario, end_ns))
    numbers = np.arange(size.messages)
    streams = numbers % size.channels
    seqs = numbers // size.channels + 1
    intended = ZERO_NS + (seqs - 1) * EVERY_MS * MS
    publish(rundir, streams, seqs, intended)
    listeners: list[list[int]] = [[] for _ in channels]
    made = 0
    with StripeWriter(rundir.journal / "clients-1.stripe", {"role": "clients", "worker": 1}) as stripe:
        for first, count, own in groups:
            for client in range(first, first + count):
                stripe.events(events_of(client, client % size.nodes, [channels[number] for number in own]))
                for number in own:
                    listeners[number].append(client)
        of_channel = [np.array(clients, np.uint32) for clients in listeners]
        every = round(1 / size.lost) if size.lost else 0
        order = 0
        for start in range(0, size.messages, ROUND):
            parts = []
            for number in range(start, min(start + ROUND, size.messages)):
                clients = of_channel[streams[number]]
                places = order + np.arange(len(clients))
                order += len(clients)
                kept = clients[places % every != 0] if every else clients
                records = np.zeros(len(kept), DELIVERY_DTYPE)
                records["client"], records["node"] = kept, kept % size.nodes
                records["seq"], records["stream"] = seqs[number], streams[number]
                records["intended_ns"] = intended[number]
                records["recv_ns"] = intended[number] + np.arange(MS, MS + len(kept), dtype=np.uint64)
                parts.append(records)
            whole = np.concatenate(parts)
            made += len(whole)
            for at in range(0, len(whole), 8192):
                stripe.write(Kind.DELIVERIES, whole[at : at + 8192].tobytes())
        stripe.events([{"t": end_ns + 600 * MS, "ev": "left", "client": client} for client in range(size.clients)])
    return made


def groups_of(size: Size) -> list[tuple[int, int, list[int]]]:
    """Of each group its first client, how many, and the numbers of its channels: at most 100 groups."""
    kinds = min(100, size.channels, size.clients)
    found, first = [], 0
    for kind in range(kinds):
        count = size.clients // kinds + (kind < size.clients % kinds)
        start = kind * size.channels // kinds
        found.append((first, count, [(start + k) % size.channels for k in range(size.per_client)]))
        first += count
    return found


def events_of(client: int, node: int, channels: list[str]) -> list[dict[str, object]]:
    """One client comes."""
    at = {"client": client, "node": node}
    return [
        {"t": ZERO_NS - 4 * MS, "ev": "connecting", **at, "attempt": 0},
        {"t": ZERO_NS - 3 * MS, "ev": "open", **at},
        *({"t": ZERO_NS - 2 * MS, "ev": "subscribing", **at, "channel": channel} for channel in channels),
        *({"t": ZERO_NS - MS, "ev": "subscribed", **at, "channel": channel} for channel in channels),
    ]


def publish(rundir: RunDir, streams: np.ndarray, seqs: np.ndarray, intended: np.ndarray) -> None:
    """The publishers' journal."""
    with StripeWriter(rundir.journal / "publishers-1.stripe", {"role": "publishers", "worker": 1}) as stripe:
        for start in range(0, len(seqs), ROUND):
            here = slice(start, start + ROUND)
            intents = np.zeros(len(seqs[here]), INTENT_DTYPE)
            intents["intended_ns"], intents["seq"], intents["stream"] = intended[here], seqs[here], streams[here]
            stripe.write(Kind.INTENTS, intents.tobytes())
            outcomes = np.zeros(len(seqs[here]), OUTCOME_DTYPE)
            outcomes["sent_ns"], outcomes["done_ns"] = intended[here] + 1000, intended[here] + 2000
            outcomes["seq"], outcomes["stream"], outcomes["receivers"] = seqs[here], streams[here], 1
            stripe.write(Kind.OUTCOMES, outcomes.tobytes())


def manifest(scenario: Scenario, end_ns: int) -> dict[str, object]:
    """As a run writes it, as far as account and report read it."""
    return {
        "schema_version": 1,
        "fanlab_version": __version__,
        "started_utc": clock.utc_stamp(),
        "status": "complete",
        "command": [],
        "backend": "process",
        "workers": 1,
        "matrix_cell": {},
        "scenario_source": "",
        "scenario_sha256": "",
        "fault_failures": [],
        "unplanned_exits": [],
        "expected_exits": [],
        "redis": {"url": "", "source": "made up", "version": ""},
        "caching_nodes": [],
        "backend_facts": {},
        "host": provenance.host(),
        "versions": provenance.versions(),
        "limits": provenance.limits(),
        "clock": {"name": "made up", "boot_id": None},
        "scenario": scenario.model_dump(mode="json"),
        "seed": scenario.seed,
        "run_tag": 1,
        "plan": asdict(make_plan(scenario)),
        "predictions": [],
        "faults": [],
        "phases": {
            "publish_start_ns": ZERO_NS,
            "zero_ns": ZERO_NS,
            "measure_end_ns": end_ns,
            "drain_end_ns": end_ns + 500 * MS,
            "drain_ended_by": "quiet",
        },
        "journaling_nodes": [],
    }
