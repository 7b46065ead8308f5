"""Injected faults as the account keeps them, and the windows in which they held."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from fanlab.clock import NS_PER_S
from fanlab.ledger.result import FaultAccount
from fanlab.ledger.windows import NEVER

REDIS: Final = "redis"  # the target of a fault of Redis; others target a node by its id
AFTERMATH_NS: Final = 2 * NS_PER_S  # what comes to light this long after a fault healed still goes back to it
IN_FLIGHT_NS: Final = NS_PER_S  # what was sent this long before a fault may still have been on its way when it bit

_STAMPS: Final = ("requested", "confirmed", "heal_requested", "heal_confirmed")


def fault_accounts(manifest: Mapping[str, Any], stamps: Iterable[Mapping[str, Any]]) -> list[FaultAccount]:
    """The faults of the manifest, by id, with their stamps and predictions; also stamped ones that it does not name."""
    found: dict[int, FaultAccount] = {
        fault["id"]: FaultAccount(
            id=fault["id"],
            kind=fault["kind"],
            target=fault["target"],
            heals=fault.get("for_ns") is not None,
            settings=fault.get("settings") or {},
        )
        for fault in manifest.get("faults") or ()
    }
    for prediction in manifest.get("predictions") or ():
        if prediction["fault"] in found:
            found[prediction["fault"]] = replace(found[prediction["fault"]], predicted=prediction["predicted"])
    zero_ns = (manifest.get("phases") or {}).get("zero_ns")
    for end in manifest.get("expected_exits") or ():
        if end["fault"] in found and None not in (zero_ns, end["t_s"]):
            ended_ns = zero_ns + round(end["t_s"] * NS_PER_S)
            found[end["fault"]] = replace(found[end["fault"]], ended_ns=ended_ns)
    for stamp in stamps:
        if stamp.get("stamp") in _STAMPS and {"id", "kind", "target", "t"} <= stamp.keys():
            fault = found.get(stamp["id"]) or FaultAccount(stamp["id"], stamp["kind"], stamp["target"])
            found[stamp["id"]] = replace(fault, **{f"{stamp['stamp']}_ns": stamp["t"]})
    return [found[id_] for id_ in sorted(found)]


def window_ns(fault: FaultAccount) -> tuple[int, int] | None:
    """When a fault held: from its request until it was seen healed (NEVER: not at all). None: never injected."""
    if fault.requested_ns is None:
        return None
    return fault.requested_ns, NEVER if fault.heal_confirmed_ns is None else fault.heal_confirmed_ns
