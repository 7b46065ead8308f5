"""When to ask a peer for a sign of life, and when to give it up. Pure: time comes in.

Anything a peer sends is a sign of life. A peer that was asked and has said nothing for the timeout is dead. The sweep
knows when it should have run: if it comes late, this process itself was stopped (SIGSTOP, a laptop's lid), the
peers' answers may lie unread in the socket, the lost time is not held against them, and nobody dies in that sweep.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar


class Peer(Protocol):
    """Times in seconds on the loop's clock."""

    heard_s: float  # when it last sent anything
    asked_s: float | None  # when it was asked and has not answered since


P = TypeVar("P", bound=Peer)


@dataclass(frozen=True, slots=True)
class Sweep(Generic[P]):
    """What to do now."""

    ask: list[P] = field(default_factory=list)
    dead: list[P] = field(default_factory=list)


class Heartbeat(Generic[P]):
    """Asks peers that have been quiet for `interval_s`; gives them up `timeout_s` later."""

    def __init__(self, interval_s: float, timeout_s: float, now_s: float, *, tick_s: float | None = None) -> None:
        self.interval_s = interval_s
        self.timeout_s = timeout_s
        self.tick_s = min(1.0, interval_s / 4, timeout_s / 4) if tick_s is None else tick_s  # sweep this often
        self._expected_s = now_s + self.tick_s

    def sweep(self, now_s: float, peers: Iterable[P]) -> Sweep[P]:
        """Sort the peers; those to ask are noted as asked."""
        stalled_s = max(0.0, now_s - self._expected_s - self.tick_s)
        self._expected_s = now_s + self.tick_s
        result: Sweep[P] = Sweep()
        for peer in peers:
            if peer.asked_s is not None and peer.heard_s >= peer.asked_s:
                peer.asked_s = None
            if peer.asked_s is not None:
                peer.asked_s += stalled_s
                if not stalled_s and now_s - peer.asked_s >= self.timeout_s:
                    result.dead.append(peer)
            elif now_s - peer.heard_s >= self.interval_s:
                peer.asked_s = now_s
                result.ask.append(peer)
        return result
