"""What fanlab's own engines cost: journals that cannot be read, connections that a stalled engine gave up. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fanlab.clock import NS_PER_MS, NS_PER_S
from fanlab.ledger.health import Health
from fanlab.ledger.histogram import Ints
from fanlab.ledger.journals import StripeInfo, Unread
from fanlab.ledger.received import Bools
from fanlab.ledger.windows import NEVER

_NO_STRIPE = -1


@dataclass(frozen=True, slots=True)
class OwnDoing:
    """By stripe of a load engine, what is amiss with it."""

    stripe: Ints  # by client: the number of its stripe
    unread: Mapping[int, Sequence[Unread]]  # by stripe: what came within these times may not be in it
    ends: frozenset[tuple[int, int]]  # (client, t): an engine that had stood still gave that connection up then

    def unread_at(self, client: Ints, from_ns: Ints, to_ns: Ints, candidates: Bools) -> tuple[Bools, Bools]:
        """Which of the `candidates`, due to come within [from_ns, to_ns], may have been in what cannot be read.

        And which of them surely were: a frame that held so many deliveries made so many losses, and if there are no
        more that may be its doing, then they are.
        """
        found, surely = np.zeros(len(client), np.bool_), np.zeros(len(client), np.bool_)
        for number, windows in self.unread.items():
            of_stripe = candidates & (self.stripe[client] == number)
            for start_ns, end_ns, deliveries in windows:
                hit = of_stripe & (from_ns <= end_ns) & (to_ns >= start_ns)
                found |= hit
                if deliveries is not None and np.count_nonzero(hit) <= deliveries:
                    surely |= hit
        return found, surely

    def ended(self, client: Ints, t_ns: Ints) -> Bools:
        """Whether each client's connection that ended at `t_ns` was given up by an engine that had stood still."""
        if not self.ends:
            return np.zeros(len(client), np.bool_)
        pairs = zip(client.tolist(), t_ns.tolist(), strict=True)
        return np.fromiter((pair in self.ends for pair in pairs), np.bool_, len(client))


def own_doing(stripes: Sequence[StripeInfo], ping_timeout_ns: Ints, *, complete: bool) -> OwnDoing:
    """`ping_timeout_ns` is by client. In a run that is `complete` a stripe without an end is an engine that died."""
    stripe = np.full(len(ping_timeout_ns), _NO_STRIPE)
    unread: dict[int, list[Unread]] = {}
    ends: set[tuple[int, int]] = set()
    for number, info in enumerate(stripes):
        stripe[[client for client in info.clients if 0 <= client < len(stripe)]] = number
        windows = list(info.unread)
        if complete and not info.closed and info.clients:
            windows.append(Unread(info.heartbeat_ns, NEVER, None))
        if windows:
            unread[number] = windows
        silent = [one for one in info.endings if one.silent and 0 <= one.client < len(stripe)]
        stalls = list(_stalls(info.health))
        ends |= {
            (one.client, one.t)
            for one in silent
            if any(
                start_ns <= one.t <= end_ns + NS_PER_S and stood_ns >= ping_timeout_ns[one.client]
                for start_ns, end_ns, stood_ns in stalls
            )
        }
    return OwnDoing(stripe, unread, frozenset(ends))


def _stalls(health: Health) -> Iterator[tuple[int, int, int]]:
    """(from, to, how long) of each second in which the engine's loop stood still at its longest."""
    before_ns: int | None = None
    for event in health:
        stood_ns = round(max(event.lags_ms, default=0.0) * NS_PER_MS)
        yield event.t - NS_PER_S - stood_ns if before_ns is None else before_ns, event.t, stood_ns
        before_ns = event.t
