"""The account: what `ledger.account` makes of a run directory, and all that analysis and report build on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fanlab.ledger.cached import CacheAccount
from fanlab.ledger.clocks import ClockAccount
from fanlab.ledger.histogram import Histogram
from fanlab.ledger.latency import LatencyTable
from fanlab.ledger.odd import ODD_DTYPE
from fanlab.ledger.probes import ProbeDelays

LOSS_DTYPE = np.dtype(
    [
        ("intended_ns", "<u8"),
        ("client", "<u4"),
        ("seq", "<u4"),
        ("stream", "<u2"),
        ("node", "<u2"),  # the node that the client was on, or was last on; NO_NODE if never on any
        ("cause", "u1"),  # a causes.Cause
        ("fault", "<i2"),  # index into Account.faults, or -1
        ("hop", "u1"),  # a causes.Hop: between which two it was lost
        ("rule", "u1"),  # which of causes.RULES decided: `causes.why` has its sentence
    ]
)

# What is indeterminate: numbers `first` to `last` of a stream, all of which are so for this client.
UNDECIDED_DTYPE = np.dtype([("client", "<u4"), ("stream", "<u2"), ("first", "<u4"), ("last", "<u4")])


@dataclass(frozen=True, slots=True)
class Tally:
    """The ledger identity's terms, over distinct (message, client) pairs: owed = delivered + lost + indeterminate."""

    published: int = 0
    owed: int = 0
    delivered: int = 0
    lost: int = 0
    indeterminate: int = 0
    duplicated: int = 0
    reordered: int = 0
    unexpected: int = 0
    disagreed: int = 0
    corrupted: int = 0

    @property
    def balanced(self) -> bool:
        """Whether the identity holds."""
        return self.owed == self.delivered + self.lost + self.indeterminate


@dataclass(frozen=True, slots=True)
class FaultAccount:
    """One injected fault with its four stamps (ns on the run's clock; None: it never came to that)."""

    id: int
    kind: str
    target: str
    requested_ns: int | None = None
    confirmed_ns: int | None = None
    heal_requested_ns: int | None = None
    heal_confirmed_ns: int | None = None
    heals: bool = True  # False: the scenario leaves it broken
    predicted: float | None = None  # lost (message, client) pairs foretold by the plan
    measured: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)  # what else the scenario says of it
    ended_ns: int | None = None  # when its target's process was seen to have ended by it


@dataclass(frozen=True, slots=True)
class Outage:
    """One interval in which a client was owed messages and could not get them, in ns; None: not before the end."""

    client: int
    node: int  # the node that it was on
    start_ns: int  # the connection's end as the client saw it
    reopened_ns: int | None  # WebSocket open again
    resubscribed_ns: int | None  # all its channels confirmed again
    first_message_ns: int | None  # first delivery after that
    next_node: int | None
    fault: int | None  # index into Account.faults


@dataclass(slots=True)
class Evidence:
    """How complete the journals are: what an attribution may lean on, and what a partial run lacks."""

    stripes: int = 0
    torn: int = 0
    corrupt: int = 0  # frames in the middle of a stripe whose CRC fails
    unclosed: int = 0  # stripes without an orderly end
    complete_until_ns: int | None = None  # unclosed stripes are known to hold all before this; None: all are closed
    node_journals: list[str] = field(default_factory=list)
    publisher_journal: bool = False
    contradictions: int = 0  # deliveries of messages whose publish is known to have failed; counted as unexpected
    boot_ids: list[str] = field(default_factory=list)  # of all stripes; more than one: no shared clock
    witness: bool = False  # a subscriber of fanlab's own, straight at Redis, kept a journal
    redis_watch: bool = False  # Redis' list of subscribers was watched
    redis_log: bool = False  # ... and its log, which is that of a Redis of ours
    foreign: int = 0  # frames with a token of another run: somebody else publishes here
    coarse: list[str] = field(default_factory=list)  # sentences: what an attribution lacks, and what follows from that


@dataclass(slots=True)
class Account:
    """Everything countable about a run. Arrays over time are binned by `bin_ns` from `start_ns`."""

    measure: Tally
    warm_up: Tally
    losses: NDArray[Any]  # LOSS_DTYPE, measure phase only, sorted by intended_ns
    by_client: dict[str, NDArray[np.int64]]  # owed, delivered, lost per client index
    by_stream: dict[str, NDArray[np.int64]]  # published, owed per stream index
    publishers: dict[str, int]  # planned, sent, unsent, failed, timed_out, unheard (Redis replied 0: nobody subscribed)
    clients: dict[str, int]  # count, connected, reconnects, never_returned
    faults: list[FaultAccount]
    outages: list[Outage]
    evidence: Evidence
    latency: LatencyTable  # of the measure phase's first copies: overall, by node id, channel, group, over time
    hops: dict[str, Histogram]  # "schedule", "redis", "node", "client"; what each counts is in ledger.hops
    start_ns: int  # left edge of the first bin: time 0, so that each array over time sums to the measure phase's total
    zero_ns: int  # time 0: the start of the measure phase
    end_ns: int
    bin_ns: int
    offered: NDArray[np.int64]  # (message, client) pairs owed, by intended time
    delivered: NDArray[np.int64]  # by receive time
    lost: NDArray[np.int64]  # by intended time
    schedule_lag_p99_ms: float | None
    loop_lag_p99_ms: float | None
    generator_cpu: float | None  # the busiest generator process, share of a core
    partial: bool
    probes: ProbeDelays = field(default_factory=ProbeDelays)  # measure phase only
    cpu_wait: float | None = None  # share of the measure phase for which a generator process waited for a CPU, at worst
    gc_max_ms: float | None = None  # the longest pause of a generator process's garbage collector
    steal: float | None = None  # share of the machine's CPU time that went to other virtual machines
    clock: ClockAccount = field(default_factory=ClockAccount)
    odd: NDArray[Any] = field(default_factory=lambda: np.zeros(0, ODD_DTYPE))  # measure phase only, sorted by recv_ns
    caches: CacheAccount | None = None  # None: no publisher with `objects`, or no node with a cache
    undecided: NDArray[Any] = field(  # measure phase only, sorted by client, stream and number
        default_factory=lambda: np.zeros(0, UNDECIDED_DTYPE)
    )
