"""Reading a run's journals: nothing is added, nothing left out, and what cannot be read is told of."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fanlab.errors import MeasurementError
from fanlab.ledger.journals import ABNORMAL, Ending, Journals, StripeInfo, Unread, read_deliveries, read_journals
from fanlab.ledger.records import DELIVERY, INTENT_DTYPE, OUTCOME_DTYPE
from fanlab.ledger.stripe import Kind, StripeWriter
from fanlab.ledger.windows import EVENT_DTYPE, NAMES, NEVER, NO_CHANNEL
from support.histories import RUN_TAG, History, ns, spoil

DELIVERIES = [(10 * seq, 0, seq, 0, 0, 0) for seq in range(1, 8)]  # of number 1 at 10 ns, and so on


def row(seq: int) -> bytes:
    return DELIVERY.pack(*DELIVERIES[seq - 1], 0)


def deliveries_in(path: Path, *frames: Sequence[int], rest: bytes = b"") -> Path:
    """A stripe with these numbers' deliveries in each frame."""
    with StripeWriter(path, {"role": "clients"}) as stripe:
        for frame in frames:
            stripe.heartbeat(5)
            stripe.write(Kind.DELIVERIES, b"".join(map(row, frame)) + rest)
    return path


def chunks(paths: Sequence[Path], chunk_records: int) -> list[tuple[int, list[int]]]:
    return [(number, chunk["seq"].tolist()) for number, chunk in read_deliveries(paths, chunk_records)]


@pytest.mark.parametrize(
    ("chunk_records", "expected"),
    [
        (1, [[1, 2], [3], [4], [5, 6, 7]]),
        (2, [[1, 2], [3, 4], [5, 6, 7]]),
        (3, [[1, 2, 3], [4, 5, 6, 7]]),
        (4, [[1, 2, 3, 4], [5, 6, 7]]),
        (5, [[1, 2, 3, 4, 5, 6, 7]]),
        (100, [[1, 2, 3, 4, 5, 6, 7]]),
    ],
)
def test_deliveries_come_in_chunks_of_whole_frames(
    tmp_path: Path, chunk_records: int, expected: list[list[int]]
) -> None:
    one = deliveries_in(tmp_path / "a.stripe", [1, 2], [3], [4], [5, 6, 7])
    two = deliveries_in(tmp_path / "b.stripe", [6])
    none = deliveries_in(tmp_path / "c.stripe")
    found = chunks([none, one, two], chunk_records)
    assert found == [*((1, seqs) for seqs in expected), (2, [6])]


def test_a_chunk_is_full_with_as_many_records_as_were_asked_for(tmp_path: Path) -> None:
    path = deliveries_in(tmp_path / "a.stripe", [1], [2], [3], [4], [5])
    assert [seqs for _, seqs in chunks([path], 2)] == [[1, 2], [3, 4], [5]]


def test_half_a_record_is_none(tmp_path: Path) -> None:
    assert chunks([deliveries_in(tmp_path / "a.stripe", [1, 2], rest=b"x" * 31)], 9) == [(0, [1, 2])]


def journals_of(*stripes: StripeInfo) -> Journals:
    none = np.zeros(0, EVENT_DTYPE), np.zeros(0, INTENT_DTYPE), np.zeros(0, OUTCOME_DTYPE)
    return Journals(*none, list(stripes), {}, [], 0)


def test_a_stripe_without_an_end_speaks_of_its_own_clients_until_its_last_heartbeat() -> None:
    found = journals_of(
        StripeInfo(Path("a"), closed=True, clients={0}, heartbeat_ns=10),
        StripeInfo(Path("b"), closed=False, clients={1, 2, 4, 5}, heartbeat_ns=20),
        StripeInfo(Path("c"), closed=False, clients={2}, heartbeat_ns=15),
    )
    assert found.horizon_ns(4).tolist() == [NEVER, 20, 15, NEVER]
    assert found.last_ns == 20
    assert journals_of().last_ns == 0


def test_all_that_a_run_wrote_is_read_and_nothing_else(tmp_path: Path) -> None:
    history = History(clients=2, streams=("news", "news")).subscribe(0).close(0, 50, code=1001)
    history.publish(1, 10).publish(2, 20, stream=1).publish(3, 30, status=None)
    history.read(0, 4, 70, seq=3).read(1, 5, 80).health(90, 1.5, 2)
    found = read_journals(history.write(tmp_path / "run", frame_records=2), history.plan(), RUN_TAG)
    assert found.intents[["seq", "stream"]].tolist() == [(1, 0), (2, 1), (3, 0)]
    assert found.outcomes[["seq", "stream"]].tolist() == [(1, 0), (2, 1)]
    assert found.reads[["seq", "object", "asked_ns"]].tolist() == [(3, 4, ns(70)), (0, 5, ns(80))]
    assert [stripe.path.name for stripe in found.stripes] == [
        "clients-0.stripe", "publishers-0.stripe", "readers.stripe",
    ]  # fmt: skip
    assert [stripe.header["role"] for stripe in found.stripes] == ["clients", "publishers", "readers"]
    clients = found.stripes[0]
    assert (clients.clients, clients.closed, clients.foreign) == ({0}, True, 0)
    assert clients.endings == [Ending(ns(50), 0, 1001, silent=False)]
    assert [(event.t, event.cpu_s) for event in clients.health] == [(ns(90), 1.5)]
    told = [NAMES[at] for at in found.events["at"].tolist()]
    assert told == ["connecting", "open", "subscribing", "subscribed", "closed"]


def test_the_last_time_that_a_run_names(tmp_path: Path) -> None:
    history = History(close_stripes=False).subscribe(0, at=-900, took=1, lag=1)
    for at, end in enumerate((ns(-898), ns(20.3), ns(50))):
        found = read_journals(history.write(tmp_path / f"run-{at}"), history.plan(), RUN_TAG)
        assert found.last_ns == end, "of an event, of an outcome, of a heartbeat"
        if at == 0:
            history.publish(1, 20)
        history.heartbeat_ms = 50 if at == 1 else None


def test_a_run_that_wrote_nothing(tmp_path: Path) -> None:
    history = History()
    found = read_journals(history.write(tmp_path / "run"), history.plan(), RUN_TAG)
    assert [len(part) for part in (found.events, found.intents, found.outcomes, found.reads, found.damaged)] == [0] * 5
    assert (found.foreign, found.corrupt, found.torn_stamps, found.stamps, found.nodes) == (0, False, 0, [], {})


def stripe_of(tmp_path: Path, *lines: dict[str, Any], closed: bool = True) -> StripeInfo:
    history = History(channels=("news", "sport"))
    history.events = list(lines)
    history.close_stripes = closed
    return read_journals(history.write(tmp_path / "run"), history.plan(), RUN_TAG).stripes[0]


@pytest.mark.parametrize(("more", "foreign"), [({}, 0), ({"missed": 3}, 3)])
def test_an_engine_that_died_had_foreign_frames_as_it_last_said(
    tmp_path: Path, more: dict[str, int], foreign: int
) -> None:
    health = {"t": 5, "ev": "health", "cpu_s": 1, "lags_ms": []}
    assert stripe_of(tmp_path, {**health, **more}, closed=False).foreign == foreign


@pytest.mark.parametrize(
    ("more", "ending"),
    [
        ({"code": 1000, "reason": "bye"}, (1000, False)),
        ({"code": ABNORMAL, "reason": "reset"}, (ABNORMAL, False)),
        ({"code": ABNORMAL, "reason": "no answer to a ping within 2 s"}, (ABNORMAL, True)),
        ({"reason": "no answer to a ping within 2 s"}, (ABNORMAL, True)),
        ({"code": 1000, "reason": "no answer to a ping within 2 s"}, (1000, False)),
        ({}, (ABNORMAL, False)),
    ],
)
def test_how_a_connection_ended(tmp_path: Path, more: dict[str, Any], ending: tuple[int, bool]) -> None:
    found = stripe_of(tmp_path, {"t": 5, "ev": "closed", "client": 0, "node": 0, **more})
    assert found.endings == [Ending(5, 0, *ending)]


def test_events_of_a_channel_or_a_node_that_nobody_knows(tmp_path: Path) -> None:
    history = History(channels=("news", "sport"))
    for at, channel in enumerate(("sport", "weather")):
        history.event(at, "subscribed", 0, node=0, channel=channel)
    history.event(2, "left", 0).event(3, "party", 0)
    found = read_journals(history.write(tmp_path / "run"), history.plan(), RUN_TAG).events
    assert found["channel"].tolist() == [1, NO_CHANNEL, NO_CHANNEL]
    assert len(found) == 3


@pytest.mark.parametrize("line", [{"ev": "left", "client": 0}, {"t": 1, "ev": "left"}, {"t": "x", "ev": "left"}])
def test_an_event_that_is_none_is_named(tmp_path: Path, line: dict[str, Any]) -> None:
    with pytest.raises(MeasurementError, match="holds an event that is none"):
        stripe_of(tmp_path, line)


def test_what_corrupt_frames_held_and_when(tmp_path: Path) -> None:
    rundir = History().write(tmp_path / "run")
    path = rundir.journal / "clients-1.stripe"
    with StripeWriter(path, {"role": "clients"}) as stripe:
        spoil(path, stripe, DELIVERIES[:2])  # before any heartbeat
        stripe.heartbeat(10)
        stripe.heartbeat(20)
        spoil(path, stripe, DELIVERIES[:3])
        stripe.events([{"t": 1, "ev": "party"}])
        spoil(path, stripe, DELIVERIES[:1])
        stripe.heartbeat(30)
        stripe.heartbeat(25)  # time goes back: what was said of 30 holds
        stripe.heartbeat(40)
        spoil(path, stripe, DELIVERIES[:3])
    info = read_journals(rundir, History().plan(), RUN_TAG).stripes[1]
    assert info.unread == [Unread(0, 20, 2), Unread(20, 30, 4), Unread(40, NEVER, None)]
    assert (info.corrupt, info.heartbeat_ns) == (4, 40)


def test_a_corrupt_frame_held_whole_records_only_and_others_than_deliveries_held_none(tmp_path: Path) -> None:
    rundir = History().write(tmp_path / "run")
    path = rundir.journal / "clients-1.stripe"
    with StripeWriter(path, {"role": "clients"}) as stripe:
        for kind, payload in ((Kind.DELIVERIES, b"x" * 70), (Kind.EVENTS, b"x" * 70)):
            stripe.write(kind, payload)
            data = path.read_bytes()
            with path.open("r+b") as file:
                file.seek(len(data) - 1)
                file.write(b"y")
            stripe.heartbeat(10)
    (first, second) = read_journals(rundir, History().plan(), RUN_TAG).stripes[1].unread
    assert (first.deliveries, type(first.deliveries)) == (2, int)
    assert (second.deliveries, first.to_ns, second.to_ns) == (0, 10, NEVER)


def test_stripes_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    history = History(clients=3).subscribe(2).subscribe(1).subscribe(0)
    rundir = history.write(tmp_path / "run", client_stripes=3)
    found = read_journals(rundir, history.plan(), RUN_TAG)
    assert [sorted(stripe.clients) for stripe in found.stripes] == [[0], [1], [2], []]
