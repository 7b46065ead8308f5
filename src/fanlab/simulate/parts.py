"""What the simulated system is made of, and told with: messages, batches, draws of delays, and who keeps account."""

from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from fanlab.ledger.records import Status
from fanlab.seed import rng
from fanlab.simulate.model import Delay
from fanlab.simulate.people import Party

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_DRAWN_AT_ONCE: Final = 4096


@dataclass(frozen=True, slots=True)
class Message:
    """One message, from the publisher's side. ns since publishing began."""

    stream: int
    channel: int
    seq: int
    intended_ns: int
    sent_ns: float


@dataclass(frozen=True, slots=True)
class Batch:
    """One message at the nodes that Redis wrote it to: equally long arrays. ns, each in its node's own time.

    Delivery m (from 1) of `count` leaves its node `first_ns + pace_ns × m`; `done_ns` is when the node is through.
    What has not left by `dead_ns` (real time) never does.
    """

    message: Message
    node: Ints
    received_ns: Floats
    first_ns: Floats
    pace_ns: Floats
    done_ns: Floats
    count: Ints
    dead_ns: Floats


class Recorder(Protocol):
    """Who keeps account of it all."""

    def ended(self, message: Message, status: Status, done_ns: float, receivers: int) -> None:
        """A publish ended so, in the publisher's eyes."""

    def batch(self, batch: Batch) -> None:
        """A message is at the nodes, and on to their clients."""

    def meant(self, message: Message) -> None:
        """A message is sent, or would be if there were a Redis."""

    def cut_off(self, at_ns: float, party: Party, node: int) -> None:
        """Those clients have no connection any more: what has not left the node by then never does."""

    def life(self, at_ns: float, event: str, party: Party, node: int, **more: Any) -> None:
        """Something happened to clients; the events are those of ledger.events."""

    def node_says(self, at_ns: float, node: int, event: str, **more: Any) -> None:
        """A line of a node's journal."""


class Draws:
    """Draws of one delay, from a stream of randomness of its own."""

    def __init__(self, delay: Delay, seed: int, purpose: str, lanes: int = 1) -> None:
        """`lanes` is in how many lines, each with a memory of its own, those wait who are drawn for with `in_line`."""
        self._delay = delay
        self._normal: Floats = np.zeros(lanes)
        self._drawn_at_ns: Floats = np.full(lanes, -np.inf)
        self._random = generator(seed, purpose)
        self._drawn: Floats = np.zeros(0)
        self._at = 0

    def one(self) -> float:
        """The next one, ns."""
        return float(self.many(1)[0])

    def many(self, count: int) -> Floats:
        """The next ones, ns."""
        if self._at + count > len(self._drawn):
            self._drawn = self._delay.draw(self._random, max(count, _DRAWN_AT_ONCE))
            self._at = 0
        self._at += count
        return self._drawn[self._at - count : self._at]

    def in_line(self, at_ns: float, lanes: Ints) -> Floats:
        """The next one in each of those lines, ns: the more like the one before, the shorter ago that was."""
        if not self._delay.memory_ns:
            return self.many(len(lanes))
        alike = np.exp(-(at_ns - self._drawn_at_ns[lanes]) / self._delay.memory_ns)
        anew = self._random.standard_normal(len(lanes))
        self._normal[lanes] = alike * self._normal[lanes] + np.sqrt(1 - alike**2) * anew
        self._drawn_at_ns[lanes] = at_ns
        return self._delay.of_normal(self._normal[lanes])


def generator(seed: int, purpose: str) -> np.random.Generator:
    """Seeded randomness for arrays, independent for each purpose."""
    return np.random.default_rng(rng(seed, "simulate", purpose).getrandbits(128))
