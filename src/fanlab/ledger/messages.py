"""Every message that a publisher meant to send, from its intents and outcomes. Pure; memory grows with messages."""

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fanlab.errors import MeasurementError
from fanlab.ledger.histogram import Ints
from fanlab.ledger.lookups import first_of_each, last_of_each
from fanlab.ledger.records import Status
from fanlab.ledger.windows import NEVER

NO_OUTCOME: Final = 254  # an intent and no more: the publisher died, and the message may have been published
NO_MESSAGE: Final = 255  # a number that no publisher ever used
_HOLES: Final = 1 << 20  # seq counts from 1 without holes; this many beyond the records is no hole but nonsense

_MAY_EXIST: Final = (Status.OK, Status.TIMED_OUT, Status.UNKNOWN, NO_OUTCOME)
_UNCERTAIN: Final = (Status.TIMED_OUT, Status.UNKNOWN, NO_OUTCOME)


@dataclass(frozen=True, slots=True)
class Messages:
    """Message (stream s, seq q) is element base[s] + q − 1 of each array; streams are those of the plan.

    It was published, if at all, within [sent_ns, done_ns]; done_ns is NEVER where the publisher did not live to tell.
    """

    base: Ints  # streams + 1 offsets
    intended_ns: Ints
    sent_ns: Ints
    done_ns: Ints
    status: NDArray[np.uint8]  # a records.Status, NO_OUTCOME or NO_MESSAGE
    receivers: Ints  # what Redis replied; -1 without a reply

    @property
    def stream(self) -> Ints:
        """The stream of each message."""
        return np.repeat(np.arange(len(self.base) - 1), np.diff(self.base))

    @property
    def may_exist(self) -> NDArray[np.bool_]:
        """Whether it was published, or may have been."""
        return np.isin(self.status, _MAY_EXIST)

    @property
    def uncertain(self) -> NDArray[np.bool_]:
        """Whether nobody knows if it was published."""
        return np.isin(self.status, _UNCERTAIN)

    def blurred(self, by_ns: int) -> "Messages":
        """The same, as those see it whose clocks differ from the publishers' by up to that much."""
        done_ns = np.where(self.done_ns == NEVER, NEVER, self.done_ns + by_ns)
        return replace(self, sent_ns=self.sent_ns - by_ns, done_ns=done_ns) if by_ns else self

    def find(self, stream: Ints, seq: Ints) -> Ints:
        """The index of each (stream, seq), or -1 where no publisher ever used that number."""
        known = (stream >= 0) & (stream < len(self.base) - 1) & (seq >= 1)
        stream = np.where(known, stream, 0)
        if len(self.base) == 1 or not len(self.status):
            return np.full(len(seq), -1)
        index = self.base[stream] + seq - 1
        known &= index < self.base[stream + 1]
        index = np.where(known, index, 0)
        return np.where(known & (self.status[index] != NO_MESSAGE), index, -1)


def collect_messages(intents: NDArray[Any], outcomes: NDArray[Any], streams: int) -> Messages:
    """Join INTENT and OUTCOME records, in any order, but for number 0 and for streams that the plan lacks.

    Of several outcomes of one message the one that admits most is kept: a publisher's journal has one of each.
    """
    intents = intents[(intents["stream"] < streams) & (intents["seq"] > 0)]
    outcomes = outcomes[(outcomes["stream"] < streams) & (outcomes["seq"] > 0)]
    last = np.zeros(streams, np.int64)
    for records in (intents, outcomes):
        np.maximum.at(last, records["stream"], records["seq"])
    if int(last.sum()) > len(intents) + len(outcomes) + _HOLES:
        raise MeasurementError(
            f"the publishers' journals hold {len(intents)} messages but number them up to {int(last.max())}",
            hint="the journal is damaged; run again",
        )
    base = np.concatenate(([0], np.cumsum(last)))
    intended = np.zeros(base[-1], np.int64)
    sent = np.zeros(base[-1], np.int64)
    done = np.full(base[-1], NEVER)
    status = np.full(base[-1], NO_MESSAGE, np.uint8)
    receivers = np.full(base[-1], -1)

    intents = intents[np.argsort(intents["intended_ns"])]
    at = base[intents["stream"]] + intents["seq"].astype(np.int64) - 1
    first = first_of_each(at)
    intended[at[first]] = sent[at[first]] = intents["intended_ns"][first]
    status[at] = NO_OUTCOME

    outcomes = outcomes[np.lexsort((outcomes["done_ns"], _weight(outcomes["status"])))]
    at = base[outcomes["stream"]] + outcomes["seq"].astype(np.int64) - 1
    last = last_of_each(at)
    outcomes, at = outcomes[last], at[last]
    told = outcomes["sent_ns"].astype(np.int64)
    intended[at] = np.where(status[at] == NO_MESSAGE, told, intended[at])
    sent[at] = np.where(told > 0, told, intended[at])
    done[at] = np.maximum(outcomes["done_ns"].astype(np.int64), sent[at])
    status[at] = outcomes["status"]
    receivers[at] = np.where(outcomes["status"] == Status.OK, outcomes["receivers"], -1)
    return Messages(base, intended, sent, done, status, receivers)


def _weight(status: NDArray[np.uint8]) -> NDArray[np.int64]:
    """UNSENT < FAILED < uncertain < OK: of several outcomes that count which are later in this order."""
    weight = np.zeros(256, np.int64)
    weight[[Status.UNSENT, Status.FAILED, Status.TIMED_OUT, Status.UNKNOWN, Status.OK]] = [0, 1, 2, 2, 3]
    return weight[status]
