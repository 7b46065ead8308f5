"""Which fault the end of a client's connection goes back to, by when and how it ended. Pure, for many at once.

A connection that broke off was cut; one that was given up, because nothing or too little came over it, was slowed. So
faults that do the one stand above those that do the other; of several of a sort the last one counts.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fanlab.ledger.faultlog import AFTERMATH_NS, REDIS
from fanlab.ledger.harm import ENDS_CONNECTIONS, SLOWS, Harm, doing
from fanlab.ledger.histogram import Ints
from fanlab.ledger.lookups import either_fault, fault_at, node_fault
from fanlab.ledger.received import Bools
from fanlab.ledger.result import FaultAccount

TOO_SLOW: Final = 1013  # the close code of a client that reads too slowly; see nodes/PROTOCOL.md

_CUTS: Final = Harm.ENDS | Harm.CUTS_CLIENTS | Harm.HUSHES_CLIENTS
_NODE_FROM_REDIS: Final = (
    Harm.CUTS_REDIS | Harm.HUSHES_REDIS | Harm.DRAGS_REDIS | Harm.STOPS_PUBLISHING | Harm.DROPS_SUBSCRIBERS
)


def fault_of_end(
    faults: Sequence[FaultAccount], node_names: Sequence[str], node: Ints, t_ns: Ints, given_up: Bools
) -> Ints:
    """By end of a connection to `node` at `t_ns`, the fault of the node, or of its links to clients, that made it; -1.

    `given_up`: by the client that had no sign of life, or by the node that found the client too slow.
    """

    def at_work(harm: Harm) -> Ints:
        return node_fault(doing(faults, harm), node_names, node, t_ns, t_ns, aftermath_ns=AFTERMATH_NS)

    fitting = np.where(given_up, at_work(SLOWS), at_work(_CUTS))
    return np.where(fitting >= 0, fitting, at_work(ENDS_CONNECTIONS))


def fault_of_outage(
    faults: Sequence[FaultAccount], node_names: Sequence[str], node: Ints, t_ns: Ints, given_up: Bools
) -> Ints:
    """As `fault_of_end`; else one that kept the node from Redis, for some nodes then send their clients away."""
    own = fault_of_end(faults, node_names, node, t_ns, given_up)
    kept = doing(faults, _NODE_FROM_REDIS)
    from_redis = either_fault(kept, node_names, node, t_ns, t_ns, aftermath_ns=AFTERMATH_NS)
    of_redis = fault_at(faults, REDIS, t_ns, t_ns, aftermath_ns=AFTERMATH_NS)
    return np.where(own >= 0, own, np.where(from_redis >= 0, from_redis, of_redis))


def among(rows: NDArray[np.int64], client: Ints, t_ns: Ints) -> Bools:
    """Whether each (client, t) is one of `rows`."""
    found: Bools = np.isin(t_ns, rows[:, 1])
    if found.any():
        pairs = set(map(tuple, rows.tolist()))
        asked = np.flatnonzero(found)
        found[asked] = [pair in pairs for pair in zip(client[asked].tolist(), t_ns[asked].tolist(), strict=True)]
    return found
