"""The losses of a run, and all that they are held against."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fanlab.ledger.drops import Drops
from fanlab.ledger.histogram import Ints
from fanlab.ledger.own import OwnDoing
from fanlab.ledger.result import FaultAccount, Outage
from fanlab.ledger.whereabouts import Traffic


@dataclass(frozen=True, slots=True)
class Losses:
    """The losses to explain: equally long arrays. Times are those of the publish, in ns."""

    client: Ints
    channel: Ints
    stream: Ints
    seq: Ints
    message: Ints  # the index of its message in messages.Messages
    sent_ns: Ints
    done_ns: Ints
    status: NDArray[np.uint8]
    next_sent_ns: Ints  # when the next message that it did get of this stream was sent; NEVER: none


@dataclass(frozen=True, slots=True)
class World:
    """What is known beside the losses."""

    subs: NDArray[Any]  # windows.SUB_DTYPE, sorted by (client, channel, time)
    outages: Sequence[Outage]  # with their faults; sorted by (client, start)
    faults: Sequence[FaultAccount]  # the injected ones as they struck, then what died by itself, as crashes
    injected: int  # how many of `faults` were injected: the others are told as -1
    node_names: tuple[str, ...]
    choice: Ints  # by client: which of `choices` it has when its node dies; -1: only the node it was on
    choices: Sequence[Sequence[int]]  # node indexes
    breaks: NDArray[Any]  # breaks.BREAK_DTYPE
    drops: Drops
    traffic: Traffic
    too_slow: NDArray[np.int64]  # rows (client, t): its connection ended then with TOO_SLOW
    without_answer: NDArray[np.int64]  # rows (client, t): it gave its connection up then, for want of a sign of life
    own: OwnDoing
    lateness_ns: int  # the most that a delivery was late in this run
    partial: bool

    def injected_only(self, fault: Ints) -> Ints:
        """Indexes into `faults` as the account has them: what died by itself goes back to no fault."""
        return np.where(fault < self.injected, fault, -1)
