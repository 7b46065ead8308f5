"""Readers without sockets: what is read when, and what an answer says."""

import struct
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from fanlab.ledger.records import READ, READ_DTYPE, ReadStatus, Token, encode_token
from fanlab.load.config import LoadConfig, NodeTarget, PublishersConfig, ReadersConfig
from fanlab.load.reading import Entry, Read, entries, everything, schedule, verdict
from fanlab.scenario.model import ConstantRate

S = 1_000_000_000
RUN = 77


def publishers(
    name: str, first: int, *, count: int = 1, objects: int | None, channel: str = "users"
) -> PublishersConfig:
    rate = ConstantRate(rate="10/s")
    return PublishersConfig(name, count, first, channel, rate, 128, S, objects)


def config(*readers: ReadersConfig) -> LoadConfig:
    nodes = tuple(NodeTarget(f"ws://n{k}/ws", "json", f"http://n{k}/cache/{{key}}") for k in range(3))
    written = (
        publishers("a", 0, count=2, objects=3),
        publishers("plain", 2, objects=None),
        publishers("other", 3, objects=2, channel="orders"),
        publishers("b", 4, objects=1),
    )
    return LoadConfig(5, RUN, "redis://", "", "", nodes, ("users", "orders"), (), written, readers)


APPS = ReadersConfig("apps", "users", 90.0, (0, 2), 2 * S)


def test_the_entries_are_those_of_all_publishers_with_objects_on_the_channel() -> None:
    assert [(one.stream, one.key) for one in entries(config(), "users")] == [
        *[(0, f"a-1-{k}") for k in range(3)],
        *[(1, f"a-2-{k}") for k in range(3)],
        (4, "b-0"),
    ]


def test_reads_are_evenly_spaced_over_the_nodes_in_turn_and_seeded() -> None:
    due = list(schedule(config(APPS), APPS, 10 * S, 12 * S))
    assert len(due) == 180
    assert due[0].intended_ns == 10 * S
    assert {round(b.intended_ns - a.intended_ns, -2) for a, b in pairwise(due)} == {round(S / 90, -2)}
    assert [one.node for one in due[:4]] == [0, 2, 0, 2]
    assert due == list(schedule(config(APPS), APPS, 10 * S, 12 * S))
    assert min(Counter(one.entry.key for one in due).values()) > 10
    other = ReadersConfig("other", "users", 90.0, (0, 2), 2 * S)
    assert [one.entry for one in due] != [one.entry for one in schedule(config(other), other, 10 * S, 12 * S)]


def test_the_sweep_has_each_entry_of_each_node_that_is_read_once() -> None:
    orders = ReadersConfig("orders", "orders", 1.0, (2,), S)
    twice = ReadersConfig("again", "users", 1.0, (2,), S)
    found = everything(config(APPS, orders, twice))
    assert {node: len(wanted) for node, wanted in found.items()} == {0: 7, 2: 9}


ENTRY = Entry(stream=4, number=2, objects=5, key="b-2")


def answer(run: int = RUN, stream: int = 4, seq: int = 8) -> bytes:
    return b'{"value":{"id":"b-2","token":"%b"},"version":2}' % encode_token(Token(run, stream, seq, 1, 2))


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, answer(), (ReadStatus.OK, 8)),
        (200, b"fl1 fl1zz " + answer(), (ReadStatus.OK, 8)),
        (404, answer(), (ReadStatus.MISSING, 0)),
        (200, answer(run=78), (ReadStatus.FAILED, 0)),  # another run's
        (200, answer(stream=3), (ReadStatus.FAILED, 0)),  # another publisher's object
        (200, answer(seq=9), (ReadStatus.FAILED, 0)),  # another object of this one
        (200, answer()[:40], (ReadStatus.FAILED, 0)),
        (200, b"{}", (ReadStatus.FAILED, 0)),
        (503, answer(), (ReadStatus.FAILED, 0)),
    ],
)
def test_what_an_answer_says(status: int, body: bytes, expected: tuple[ReadStatus, int]) -> None:
    assert verdict(ENTRY, RUN, status, body) == expected


def test_a_read_is_packed_as_the_ledger_reads_it() -> None:
    packed = Read(1, 2, 3, ENTRY, node=6, status=ReadStatus.MISSING, seq=0, sweep=True).packed()
    (row,) = np.frombuffer(packed, READ_DTYPE)
    names = ("intended_ns", "asked_ns", "answered_ns", "seq", "object", "stream", "node", "status", "sweep")
    assert [int(row[name]) for name in names] == [1, 2, 3, 0, 2, 4, 6, ReadStatus.MISSING, 1]
    assert struct.calcsize(READ.format) == READ_DTYPE.itemsize
