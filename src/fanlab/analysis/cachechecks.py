"""What the verdict asks of the nodes' caches: whether their account holds, and whether they did their part."""

from collections.abc import Iterator

import numpy as np

from fanlab.analysis.case import BUG, UNKNOWABLE_SHARE, Case
from fanlab.clock import NS_PER_S
from fanlab.ledger.cached import MissCause
from fanlab.scenario.gates import parse_gate

_READS_SHARE = 0.9  # readers that make fewer of the planned reads than this have not read as the scenario says


def cache_identity_fails(case: Case) -> Iterator[str]:
    """The same for the nodes' caches."""
    caches = case.account.caches
    if caches is None:
        return
    for name, node in caches.nodes.items():
        tally = node.tally
        if not tally.balanced or min(tally.owed, tally.refreshed, tally.missed, tally.indeterminate) < 0:
            yield (
                f"the account of the cache of {name} does not balance: owed {tally.owed}, refreshed {tally.refreshed}"
                f" + missed {tally.missed} + indeterminate {tally.indeterminate}; {BUG}"
            )
    tally = caches.tally
    for what, listed, counted in (
        ("missed updates", len(caches.misses), tally.missed),
        ("stale reads", len(caches.stale), tally.stale_reads),
        ("entries that stay wrong", len(caches.wrong), tally.wrong_for_good),
    ):
        if listed != counted:
            yield f"the account of the caches lists {listed} {what} and counts {counted}; {BUG}"


def caches_unmeasured(case: Case) -> Iterator[str]:
    """Readers that read too little to say how stale the caches were, or caches of which nobody knows anything."""
    scenario, caches = case.manifest["scenario"], case.account.caches
    planned = sum(each["rate_per_s"] for each in scenario.get("readers") or ())
    due = planned * scenario["phases"]["measure_ns"] / NS_PER_S
    reads = caches.tally.reads if caches is not None else 0
    if case.complete and due and reads < due * _READS_SHARE - 2 * len(scenario["readers"]):
        yield f"the readers came to {reads} of about {due:.0f} reads: see nodes/load-readers.log"
    if case.complete and caches is not None and caches.tally.indeterminate > caches.tally.owed * UNKNOWABLE_SHARE:
        yield (
            f"of {caches.tally.owed} updates owed to the nodes' caches {caches.tally.indeterminate} are indeterminate:"
            " let the nodes journal what their caches take, or add `readers`"
        )


def caches_without_excuse(case: Case) -> Iterator[str]:
    """Updates that a cache missed though nothing kept them from it; unless a gate of the scenario speaks of them."""
    caches = case.account.caches
    if caches is None:
        return
    spoken_of = {parse_gate(gate.expr).field for gate in case.gates}
    for cause, what in (
        (MissCause.UNEXPLAINED, "updates for no known cause"),
        (MissCause.NOT_TAKEN, "updates that their nodes had received"),
    ):
        count = int(np.count_nonzero(caches.misses["cause"] == cause))
        if count and f"cache.by_cause.{cause.label}" not in spoken_of:
            yield f"the nodes' caches missed {count} {what}: see cache.by_node in summary.json"
    withheld = caches.tally.stale_reads_withheld
    if withheld and "cache.stale_reads_withheld" not in spoken_of:
        yield f"{withheld} reads got an older value than the one that the node says its cache had taken by then"
