"""What tests of verdicts change about the run made by hand, and a gate and evidence that are as they should be."""

from dataclasses import replace
from typing import Any

import numpy as np

from fanlab.ledger.cached import CacheAccount
from fanlab.ledger.histogram import Histogram
from fanlab.ledger.latency import LatencyTable
from fanlab.ledger.result import Evidence
from fanlab.scenario.gates import GateResult
from support.accounts import BOOT, caches, make_account, make_manifest, make_scenario

GOOD_GATE = GateResult("loss.unexplained == 0", 0, True)
SOUND = Evidence(stripes=2, publisher_journal=True, boot_ids=[BOOT])


def phases(**changes):
    return {**make_manifest()["phases"], **changes}


def publishers(**changes):
    return {**make_account().publishers, **changes}


def by_client(**changes):
    return {**make_account().by_client, **changes}


def one_loss_otherwise(**fields):
    """The losses, the last one with fields replaced."""
    rows = make_account().losses
    for name, value in fields.items():
        rows[name][-1] = value
    return rows


def groups(**second):
    """A scenario with two groups of two."""
    pair = {"count": 2, "channels": ["news"]}
    return make_manifest(make_scenario(clients=[{"group": "early", **pair}, {"group": "late", **pair, **second}]))


def early_deliveries():
    latency = LatencyTable(overall=Histogram.of(np.array([-5_000_000] * 2 + [10**6] * 98)))
    return {"latency": latency}


def with_cache(*, node: str = "node-2", also: str | None = None, **changes: int) -> CacheAccount:
    """The caches by hand, with other figures for one node, or two."""
    made = caches()
    nodes = {
        name: replace(one, tally=replace(one.tally, **changes)) if name in (node, also) else one
        for name, one in made.nodes.items()
    }
    if changes.get("missed") == 0:
        return replace(made, nodes=nodes, misses=made.misses[:0])
    return replace(made, nodes=nodes)


def reading(rate: str) -> dict[str, Any]:
    """The scenario with a reader; the caches by hand have 200 reads."""
    return make_manifest(make_scenario(readers=[{"name": "apps", "channel": "news", "rate": rate}]))["scenario"]
