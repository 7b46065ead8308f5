"""Every update of an object that nodes cache: the messages of publishers with `objects`, numbered by key. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from fanlab.ledger.histogram import Ints
from fanlab.ledger.messages import Messages
from fanlab.ledger.received import Bools
from fanlab.ledger.records import Status
from fanlab.scenario.plan import Plan

SEQ_BITS: Final = 32
SEQ_MASK: Final = (1 << SEQ_BITS) - 1


@dataclass(frozen=True, slots=True)
class Updates:
    """Equally long arrays, sorted by (stream, seq); failed publishes are among them, unsent ones are not.

    Keys are numbered: object k of stream s is key first_key[s] + k.
    """

    messages: Messages
    place: Ints  # by message, its update; -1: it is none
    first_key: Ints  # streams + 1 offsets
    objects: Ints  # by stream; 0: none
    message: Ints  # index in `messages`
    stream: Ints
    seq: Ints
    key: Ints
    measure: Bools

    @property
    def keys(self) -> int:
        """How many keys there are."""
        return int(self.first_key[-1])

    @property
    def intended_ns(self) -> Ints:
        """When each was meant to be sent."""
        return self.messages.intended_ns[self.message]

    @property
    def sent_ns(self) -> Ints:
        """From when on it may have been published."""
        return self.messages.sent_ns[self.message]

    @property
    def done_ns(self) -> Ints:
        """By when it was."""
        return self.messages.done_ns[self.message]

    @property
    def receivers(self) -> Ints:
        """What Redis replied; -1 without a reply."""
        return self.messages.receivers[self.message]

    @property
    def certain(self) -> Bools:
        """Whether Redis replied that it was published."""
        certain: Bools = self.messages.status[self.message] == Status.OK
        return certain

    @property
    def failed(self) -> Bools:
        """Whether it certainly was not."""
        failed: Bools = self.messages.status[self.message] == Status.FAILED
        return failed

    @property
    def uncertain(self) -> Bools:
        """Whether nobody knows."""
        return self.messages.uncertain[self.message]

    def find(self, stream: Ints, seq: Ints) -> Ints:
        """The update that a message is, or -1."""
        at = self.messages.find(stream, seq)
        return np.where(at >= 0, self.place[np.maximum(at, 0)], -1) if len(self.place) else np.full(len(at), -1)

    def key_of(self, stream: Ints, number: Ints) -> Ints:
        """The key of an object of a stream; both must be of this run."""
        return self.first_key[stream] + number

    def stream_of(self, key: Ints) -> Ints:
        """The stream of each key."""
        return np.searchsorted(self.first_key, key, side="right") - 1

    def object_of(self, key: Ints) -> Ints:
        """The object's number in its stream."""
        number: Ints = key - self.first_key[self.stream_of(key)]
        return number


def version(key: Ints, seq: Ints) -> Ints:
    """A version of an entry as one number, which sorts by key and then by age."""
    return (key << SEQ_BITS) | seq


def updates_of(manifest: Mapping[str, Any], plan: Plan, messages: Messages, zero_ns: int) -> Updates | None:
    """The updates of a run; None where no publisher has `objects`."""
    publishers = manifest["scenario"].get("publishers") or []
    of_config = [int(each.get("objects") or 0) for each in publishers]
    objects = np.array([of_config[each.config] if of_config else 0 for each in plan.streams], np.int64)
    if not objects.any():
        return None
    stream = messages.stream
    meant = messages.may_exist | (messages.status == Status.FAILED)
    message = np.flatnonzero((objects[stream] > 0) & meant)
    place = np.full(len(stream), -1)
    place[message] = np.arange(len(message))
    stream = stream[message]
    seq = message - messages.base[stream] + 1
    first_key = np.concatenate(([0], np.cumsum(objects)))
    return Updates(
        messages=messages,
        place=place,
        first_key=first_key,
        objects=objects,
        message=message,
        stream=stream,
        seq=seq,
        key=first_key[stream] + (seq - 1) % objects[stream],
        measure=messages.intended_ns[message] >= zero_ns,
    )
