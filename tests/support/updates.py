"""Updates made from a few numbers, for what works on `Updates` alone."""

from collections.abc import Sequence

import numpy as np

from fanlab.ledger.messages import Messages
from fanlab.ledger.records import Status
from fanlab.ledger.updates import Updates, updates_of
from fanlab.scenario.plan import Plan, StreamSpec


def updates(
    *done_ns: Sequence[int], objects: Sequence[int] | int = 2, status: Sequence[Sequence[int]] = (), zero_ns: int = 0
) -> Updates:
    """The updates of some streams, each given by when its seq 1, 2, 3 … were certain; sent and meant to be just then.

    `objects` are those of each stream's publisher; `status` is by stream, and Status.OK where it is left out.
    """
    objects = [objects] * len(done_ns) if isinstance(objects, int) else objects
    at = np.array([t for stream in done_ns for t in stream], np.int64)
    told = [one for stream in status for one in stream] or [Status.OK] * len(at)
    messages = Messages(
        base=np.concatenate(([0], np.cumsum([len(stream) for stream in done_ns]))).astype(np.int64),
        intended_ns=at,
        sent_ns=at,
        done_ns=at,
        status=np.array(told, np.uint8),
        receivers=np.ones(len(at), np.int64),
    )
    streams = tuple(StreamSpec(index, f"publisher-{index + 1}", "news", index) for index in range(len(done_ns)))
    manifest = {"scenario": {"publishers": [{"objects": count or None} for count in objects]}}
    made = updates_of(manifest, Plan((), streams, (), ("news",)), messages, zero_ns)
    assert made is not None
    return made
