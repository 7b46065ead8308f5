"""The shape of summary.json, schema_version 1. docs/summary-json.md says what each field means.

Scripts and CI outside this repository rely on it: fields may be added, none renamed or taken away without a new
schema_version. None is null in the file: not measured, too few samples, or it never came to it; never NaN.
"""

from typing import Any, Final, Literal, TypedDict

from fanlab.analysis.latency import LatencyBlock
from fanlab.analysis.parts import NodePart, Part
from fanlab.analysis.recovery import RecoverySummary
from fanlab.analysis.verdict import Outcome
from fanlab.ledger.clocks import Basis

SCHEMA_VERSION: Final = 1


class LedgerBlock(TypedDict):
    """ledger.result.Tally."""

    published: int
    owed: int
    delivered: int
    lost: int
    indeterminate: int
    duplicated: int
    reordered: int
    unexpected: int
    disagreed: int
    corrupted: int


class FaultLoss(TypedDict):
    """One line of loss.by_fault."""

    fault: str
    predicted: float | None
    predicted_from_outage: float | None
    measured: int


class LossExample(TypedDict):
    """One loss to look at: what `fanlab explain` asks for."""

    client: int
    publisher: str
    channel: str
    seq: int


class LossKind(TypedDict):
    """What one cause took at one hop."""

    hop: str
    cause: str
    lost: int
    example: LossExample


class LossBlock(TypedDict):
    """Where and why messages were lost."""

    ratio: float | None
    by_hop: dict[str, int]
    by_cause: dict[str, int]
    by_hop_and_cause: list[LossKind]
    by_node: dict[str, int]
    by_channel: dict[str, int]
    by_fault: list[FaultLoss]
    outside_faults: int
    unexplained: int


class DuplicatesBlock(TypedDict):
    """Why messages came twice."""

    by_cause: dict[str, int]


class HopsBlock(TypedDict):
    """The way of a delivery, in four parts."""

    schedule: LatencyBlock
    redis: LatencyBlock
    node: LatencyBlock
    client: LatencyBlock


class PublishersBlock(TypedDict):
    """What became of the planned messages."""

    planned: int
    sent: int
    unsent: int
    failed: int
    timed_out: int
    unheard: int


class ClientsBlock(TypedDict):
    """What became of the clients."""

    count: int
    connected: int
    reconnects: int
    never_returned: int


class GeneratorBlock(TypedDict):
    """Whether the generator kept up."""

    cpu: float | None
    schedule_lag_p99_ms: float | None
    loop_lag_p99_ms: float | None
    bias_ms: float | None
    bias_p99_ms: float | None
    bias_n: int
    bias_inferred: int
    bias_ratio: float | None
    bias_p99_ratio: float | None
    wait_ms: float | None
    wait_p99_ms: float | None
    cpu_wait: float | None
    gc_max_ms: float | None
    steal: float | None


class ClockBlock(TypedDict):
    """What times from different processes mean to one another, and how surely."""

    basis: Basis
    offset_ms: float | None
    bound_ms: float | None
    drift_ppm: float | None
    exchanges: int


class FaultBlock(TypedDict):
    """One fault and its four stamps, seconds from time 0."""

    fault: str
    kind: str
    target: str
    requested: float | None
    confirmed: float | None
    heal_requested: float | None
    heal_confirmed: float | None


class GateBlock(TypedDict):
    """One gate of the scenario and how it went."""

    expr: str
    actual: Any
    ok: bool


class PhasesBlock(TypedDict):
    """How long each phase took, in seconds."""

    warm_up_s: float
    measure_s: float
    drain_s: float | None
    drain_ended_by: Literal["quiet", "deadline"] | None


class EvidenceBlock(TypedDict):
    """How complete the journals are."""

    stripes: int
    torn: int
    corrupt: int
    unclosed: int
    complete_until_s: float | None
    node_journals: list[str]
    publisher_journal: bool
    contradictions: int
    early: int
    witness: bool
    redis_watch: bool
    redis_log: bool
    foreign: int
    crosscheck: Literal["agrees", "differs"] | None
    coarse: list[str]


class CacheNodeBlock(TypedDict):
    """ledger.cached.NodeCache: one node's entry of cache.by_node."""

    owed: int
    refreshed: int
    missed: int
    indeterminate: int
    wrong_for_good: int
    empty_at_end: int
    reads: int
    reads_failed: int
    reads_missing: int
    stale_reads: int
    stale_reads_lost: int
    stale_reads_withheld: int
    refresh_ms: LatencyBlock


class CacheBlock(TypedDict):
    """What became of the nodes' caches: ledger.cached.CacheAccount."""

    updates: int
    owed: int
    refreshed: int
    missed: int
    indeterminate: int
    by_hop: dict[str, int]
    by_cause: dict[str, int]
    wrong_for_good: int
    empty_at_end: int
    reads: int
    reads_failed: int
    reads_missing: int
    stale_reads: int
    stale_reads_lost: int
    stale_reads_withheld: int
    stale_ratio: float | None
    staleness_ms: LatencyBlock
    refresh_ms: LatencyBlock
    by_node: dict[str, CacheNodeBlock]


class Measured(TypedDict):
    """What was measured: all that gates may be about."""

    schema_version: Literal[1]
    scenario: str
    backend: str
    seed: int
    partial: bool
    ledger: LedgerBlock
    warm_up: LedgerBlock
    by_node: dict[str, NodePart]
    by_channel: dict[str, Part]
    by_group: dict[str, Part]
    loss: LossBlock
    duplicates: DuplicatesBlock
    latency_ms: LatencyBlock
    hops_ms: HopsBlock
    publishers: PublishersBlock
    clients: ClientsBlock
    recovery_ms: RecoverySummary
    cache: CacheBlock | None
    generator: GeneratorBlock
    clock: ClockBlock
    faults: list[FaultBlock]
    phases: PhasesBlock
    evidence: EvidenceBlock


class Summary(Measured):
    """All of summary.json."""

    verdict: Outcome
    reasons: list[str]
    gates: list[GateBlock]
