"""What is kept of a run to hold later ones against: what it ran, where, its counts, its latency. Pure."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from fanlab.analysis.latency import LatencyBlock
from fanlab.analysis.names import names_of
from fanlab.ledger.result import Account
from fanlab.scenario.unsaid import without_defaults

VERSION: Final = 2  # 1 had the defaults in the digests
# Of the scenario, what two versions of a system, and two states of a file, may differ in. The rest is the question.
MAY_DIFFER: Final = frozenset({"name", "question", "expect", "gates", "limits", "evidence"})
_OF_A_NODE: Final = ("kind", "env")  # the system under test itself
_COUNTS: Final[Mapping[str, tuple[str, ...]]] = {
    "publishers": ("planned", "unsent", "failed", "timed_out"),
    "clients": ("count", "connected", "never_returned"),
    "loss": ("outside_faults", "unexplained"),
}


# Of a run whose nodes have a cache.
CACHE_COUNTS: Final = (
    *("missed", "wrong_for_good", "reads_failed"),
    *("stale_reads", "stale_reads_lost", "stale_reads_withheld"),
)


@dataclass(frozen=True, slots=True)
class FaultCount:
    """What one fault took: pairs, of how many clients, and the sum of the squares of what each of them lost."""

    lost: int
    clients: int
    squares: int


@dataclass(frozen=True, slots=True)
class Baseline:
    """One run, as far as others are compared with it. Names of counts are those of summary.json."""

    name: str
    scenario: str
    parts: Mapping[str, str]  # sha256 of each part of the resolved scenario that must be the same
    seed: int
    backend: str
    workers: int
    faulty: bool  # something is broken on purpose, so that some counts vary by nature
    late: bool  # clients join while messages are published: what they are owed varies
    verdict: str
    partial: bool
    started_utc: str
    fanlab_version: str
    host: Mapping[str, Any]
    versions: Mapping[str, Any]
    counts: Mapping[str, int]
    by_fault: Mapping[str, FaultCount]
    latency_ms: LatencyBlock

    def to_json(self) -> dict[str, Any]:
        """For a file."""
        return {"baseline_version": VERSION, **asdict(self)}


def baseline_from_json(data: Mapping[str, Any]) -> Baseline:
    """The baseline that `to_json` wrote. Raises KeyError, TypeError or ValueError for anything else."""
    if data["baseline_version"] != VERSION:
        raise ValueError(f"it is of version {data['baseline_version']}, and this fanlab reads version {VERSION}")
    fields = {key: value for key, value in data.items() if key != "baseline_version"}
    fields["by_fault"] = {name: FaultCount(**one) for name, one in fields["by_fault"].items()}
    return Baseline(**fields)


def make_baseline(
    account: Account, summary: Mapping[str, Any], manifest: Mapping[str, Any], name: str | None = None
) -> Baseline:
    """What is to be kept of a run."""
    scenario = manifest["scenario"]
    counts = {f"ledger.{term}": count for term, count in summary["ledger"].items()}
    counts |= {f"{block}.{term}": summary[block][term] for block, terms in _COUNTS.items() for term in terms}
    if cache := summary["cache"]:
        counts |= {f"cache.{term}": cache[term] for term in CACHE_COUNTS}
    return Baseline(
        name=name or summary["scenario"],
        scenario=summary["scenario"],
        parts=parts_of(scenario),
        seed=summary["seed"],
        backend=summary["backend"],
        workers=int(manifest.get("workers") or 1),
        faulty=bool(scenario["faults"]),
        late=any(group.get("join_ns") is not None for group in scenario["clients"]),
        verdict=summary["verdict"],
        partial=summary["partial"],
        started_utc=manifest.get("started_utc", ""),
        fanlab_version=manifest.get("fanlab_version", ""),
        host=manifest.get("host") or {},
        versions={**(manifest.get("versions") or {}), "redis": (manifest.get("redis") or {}).get("version")},
        counts=counts,
        by_fault=_by_fault(account, manifest),
        latency_ms=summary["latency_ms"],
    )


def parts_of(scenario: Mapping[str, Any]) -> dict[str, str]:
    """The sha256 of each part of a resolved scenario that must be the same.

    Defaults are left out: a key that a later fanlab adds with a default makes no other scenario of it.
    """
    parts = {key: value for key, value in scenario.items() if key not in MAY_DIFFER}
    topology = dict(parts.get("topology") or {})
    topology["nodes"] = [
        {key: value for key, value in group.items() if key not in _OF_A_NODE} for group in topology.get("nodes") or ()
    ]
    parts["topology"] = topology
    told = without_defaults(parts)
    return {key: hashlib.sha256(_canonical(value)).hexdigest() for key, value in sorted(told.items())}


def identity(baseline: Baseline) -> str:
    """One sha256 of all of them."""
    return hashlib.sha256(_canonical(dict(baseline.parts))).hexdigest()


def _by_fault(account: Account, manifest: Mapping[str, Any]) -> dict[str, FaultCount]:
    names, found = names_of(manifest), {}
    for index, fault in enumerate(account.faults):
        of_client = np.bincount(account.losses["client"][account.losses["fault"] == index]).astype(np.int64)
        hit = of_client[of_client > 0]
        found[names.fault(fault)] = FaultCount(int(hit.sum()), len(hit), int((hit * hit).sum()))
    return found


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
