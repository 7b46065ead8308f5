"""The account against a slow and plain one, over random histories; and what must never change it."""

import dataclasses
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fanlab.analysis.names import names_of
from fanlab.analysis.parts import by_channel, by_group, by_node
from fanlab.ledger.account import account, settle
from fanlab.ledger.journals import read_deliveries, read_journals
from fanlab.ledger.odd import Odd
from fanlab.ledger.records import DELIVERY, Status
from fanlab.ledger.result import Account
from fanlab.rundir import RunDir
from fanlab.scenario.plan import plan_from_json
from support.examples import examples
from support.histories import History, ns
from support.reference import TERMS, reckon, windows

CASES = settings(max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.too_slow])
ORDER = ("reordered", "disagreed")  # one copy less may put others in order, or out of it
FEW = settings(max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Anything that can happen to a few clients and messages, in any order, cut off in any way."""
    random = Random(draw(st.integers(0, 2**32)))  # noqa: S311 - one draw decides all: fast, and still reproducible
    channels = ("news", "jobs")[: random.choice((1, 1, 2))]
    history = History(
        clients=random.randint(1, 3),
        channels=channels,
        streams=tuple(random.choice(channels) for _ in range(random.randint(1, 3))),
        status=random.choice(("complete", "complete", "aborted")),
        drain_ended_by=random.choice(("quiet", "quiet", "deadline", None)),
        close_stripes=random.random() < 0.8,
        heartbeat_ms=random.choice((None, random.randint(-500, 1500))),
    )
    for stream in range(len(history.streams)):
        for seq in range(1, random.randint(1, 9)):
            if random.random() < 0.05:
                continue  # a number that was never used
            status = random.choice((Status.OK,) * 12 + (*Status, None))
            at = random.randint(-900, 999)
            history.publish(seq, at, stream=stream, status=status, lag=random.randint(0, 3), took=random.randint(0, 90))
    if random.random() < 0.5:
        see(history, random)
    for client in range(history.clients):
        wander(history, client, random)
    for client in range(history.clients):
        for stream in range(len(history.streams)):
            for seq in range(1, 9):
                receive(history, client, seq, stream, random)
    if random.random() < 0.3:
        random.shuffle(history.deliveries)
    else:
        history.deliveries.sort()
    if random.random() < 0.4:
        damage(history, random)
    if random.random() < 0.3:  # what nobody asked for: no such client, no such stream, no such number
        history.deliver(random.choice((0, 99)), random.choice((0, 1, 77)), 5, stream=random.choice((0, 9)))
    return history


def wander(history: History, client: int, random: Random) -> None:
    """A client's life of random length, by the table of moves."""
    at, moves = random.randint(-1500, 0), random.randint(0, 14)
    state, confirmed = "away", set()
    for _ in range(moves):
        at += random.choice((0, 1, 20, 150))
        node = random.randrange(3)
        if state == "away":
            history.event(at, "connecting", client, node=node, attempt=0)
            state = "trying"
        elif state == "trying" and random.random() < 0.2:
            history.event(at, "failed", client, node=node, error="refused")
            state = "away"
        elif state == "trying":
            history.event(at, "open", client, node=node)
            state, confirmed = "on", set()
            for channel in history.channels:
                history.event(at, "subscribing", client, node=node, channel=channel)
        elif len(confirmed) < len(history.channels) and random.random() < 0.7:
            channel = random.choice([channel for channel in history.channels if channel not in confirmed])
            history.event(at, "subscribed", client, node=node, channel=channel)
            confirmed.add(channel)
        elif random.random() < 0.6:
            history.close(client, at, node, own=False)
            state = "away"
    if random.random() < 0.3:
        history.leave(client, at + random.choice((0, 5, 2000)))


def receive(history: History, client: int, seq: int, stream: int, random: Random) -> None:
    """A message comes to a client: mostly once, sometimes never or twice."""
    sent = (history.intended_ns(seq, stream) - history.intended_ns(0, 0)) / 1e6
    for _ in range(random.choice((0, 1, 1, 1, 1, 1, 2, 3))):
        node = random.choice((0, 0, 0, 1))
        history.deliver(client, seq, sent + random.randint(0, 400) + random.random(), stream=stream, node=node)


def damage(history: History, random: Random) -> None:
    """Some deliveries came with a byte changed, or several, or behind the token."""
    for delivery in random.sample(history.deliveries, min(len(history.deliveries), random.choice((1, 1, 2, 5)))):
        recv, _, seq, client, stream, node = delivery
        history.deliveries.remove(delivery)
        at = (recv - ns(0)) / 1e6
        hits = random.choice((0, 1, 1, 1, 3, 20))
        if hits == 0:
            history.spoiled(client, seq, at, stream=stream, node=node)
            continue
        text = bytearray(history.token(seq, stream))
        for place in random.sample(range(len(text)), hits):
            text[place] = random.choice([byte for byte in b"0123456789abcdefX" if byte != text[place]])
        history.damaged(client, at, bytes(text), node=node)


def see(history: History, random: Random) -> None:
    """The witness has most messages, a few of them twice, nearly in the order of their sending."""
    keys = [(intended, stream, seq) for intended, seq, stream in history.intents]
    keys = [key for key in keys for _ in range(random.choice((0, 1, 1, 1, 1, 1, 2)))]
    keys.sort(key=lambda key: key[0] + random.choice((0, 0, 0, 10**8)))
    for _, stream, seq in keys:
        history.witnessed(seq, 0, stream=stream)


@contextmanager
def written(history: History, **how: int) -> Iterator[RunDir]:
    folder = Path(tempfile.mkdtemp(prefix="fanlab-test-"))
    try:
        yield history.write(folder / "run", **how)
    finally:
        shutil.rmtree(folder)


def reckoned(history: History, **how: int) -> Account:
    with written(history, **how) as rundir:
        return account(rundir)


def same(one: Account, other: Account) -> None:
    """Equal in every figure."""
    for field in dataclasses.fields(Account):
        mine, theirs = getattr(one, field.name), getattr(other, field.name)
        if field.name in ("by_client", "by_stream"):
            assert {term: part.tolist() for term, part in mine.items()} == {
                term: part.tolist() for term, part in theirs.items()
            }
        elif isinstance(mine, np.ndarray):
            assert mine.tolist() == theirs.tolist(), field.name
        elif field.name != "evidence":
            assert mine == theirs, field.name


def coherent(found: Account) -> None:
    """What holds for every account."""
    assert found.measure.balanced
    assert found.warm_up.balanced
    measure = found.measure
    assert len(found.losses) == measure.lost == found.lost.sum() == found.by_client["lost"].sum()
    assert measure.delivered == found.delivered.sum() == found.by_client["delivered"].sum() == found.latency.overall.n
    assert measure.owed == found.offered.sum() == found.by_client["owed"].sum()
    assert sum(one.n for one in found.latency.over_time) == sum(one.n for one in found.latency.by_node.values())
    assert {kind.label: (found.odd["kind"] == kind).sum() for kind in Odd} == {
        kind.label: getattr(measure, kind.label) for kind in Odd
    }
    assert (np.diff(found.odd["recv_ns"].astype(np.int64)) >= 0).all()
    assert sum(fault.measured for fault in found.faults) == (found.losses["fault"] >= 0).sum()


def adds_up(found: Account, history: History) -> None:
    """The parts come to the whole: every pair is of one channel and of one group."""
    names, measure = names_of(history.manifest()), found.measure
    for parts in (by_channel(found, names).values(), by_group(found, names).values()):
        for term in ("owed", "delivered", "lost", "indeterminate"):
            assert (term, sum(part[term] for part in parts)) == (term, getattr(measure, term))
        for part in parts:
            assert part["owed"] == part["delivered"] + part["lost"] + part["indeterminate"]
    assert sum(part["published"] for part in by_channel(found, names).values()) == measure.published
    nodes = by_node(found, names).values()
    assert (sum(part["delivered"] for part in nodes), sum(part["lost"] for part in nodes)) <= (
        measure.delivered,
        measure.lost,
    )


def odd_of(found: Account) -> list[tuple[str, int, int, int, int]]:
    """What was odd, as the reference has it."""
    rows = found.odd[["kind", "client", "stream", "seq", "recv_ns"]].tolist()
    return [(Odd(kind).label, *of) for kind, *of in rows]


@CASES
@given(histories())
def test_equals_the_reference(history):
    found, expected = reckoned(history, frame_records=3), reckon(history)
    for term in TERMS:
        assert (term, getattr(found.measure, term)) == (term, expected.measure[term])
        assert (term, getattr(found.warm_up, term)) == (term, expected.warm_up[term])
    losses = {(int(row["client"]), int(row["stream"]), int(row["seq"])) for row in found.losses}
    assert losses == expected.losses
    assert sorted(odd_of(found)) == sorted(expected.odd)
    assert found.latency.overall.sum_ns == sum(expected.latencies)
    for term, of in expected.by_client.items():
        assert {client: n for client, n in enumerate(found.by_client[term].tolist()) if n} == {
            client: n for client, n in of.items() if n
        }
    coherent(found)
    adds_up(found, history)


@FEW
@given(histories(), st.integers(1, 7), st.integers(1, 3), st.randoms())
def test_neither_the_order_of_stripes_nor_the_cuts_matter(history, frame_records, stripes, random):
    whole = reckoned(history, client_stripes=stripes)
    same(whole, reckoned(history, frame_records=frame_records, client_stripes=stripes))
    with written(history, frame_records=2, client_stripes=stripes) as rundir:
        manifest = rundir.read_manifest()
        plan = plan_from_json(manifest["plan"])
        journals = read_journals(rundir, plan, manifest["run_tag"])
        paths = [stripe.path for stripe in journals.stripes]
        by_stripe = {n: [rows for number, rows in read_deliveries(paths, 2) if number == n] for n in range(len(paths))}
        order = list(by_stripe)
        random.shuffle(order)
        journals.events = journals.events[np.argsort(journals.events["client"] * -1, kind="stable")]
        same(whole, settle(manifest, plan, journals, lambda: ((n, rows) for n in order for rows in by_stripe[n])))


def copies(found: Account) -> int:
    """All that was received, of whatever kind."""
    kinds = ("delivered", "duplicated", "unexpected")
    return sum(int(getattr(phase, kind)) for phase in (found.measure, found.warm_up) for kind in kinds)


@FEW
@given(histories(), st.data())
def test_removing_a_delivery_moves_one_count(history, data):
    history.status, history.drain_ended_by, history.close_stripes = "complete", "quiet", True
    before, promised = reckoned(history), windows(history)
    if not history.deliveries:
        return
    gone = history.deliveries.pop(data.draw(st.integers(0, len(history.deliveries) - 1)))
    after = reckoned(history)
    coherent(after)
    if windows(history) != promised:  # it told that a node lagged: what others had of that node may be unexpected now
        assert copies(after) == copies(before) - 1
        return
    counts = [
        {(phase, term): getattr(getattr(one, phase), term) for phase in ("measure", "warm_up") for term in TERMS}
        for one in (before, after)
    ]
    change = {key: counts[1][key] - counts[0][key] for key in counts[0] if key[1] not in ORDER}
    change = {key: moved for key, moved in change.items() if moved}
    phase = "measure" if any(phase == "measure" for phase, _ in change) else "warm_up"
    assert change in (
        {(phase, "duplicated"): -1},
        {(phase, "unexpected"): -1},
        {(phase, "delivered"): -1, (phase, "lost"): 1},
        {(phase, "delivered"): -1, (phase, "indeterminate"): 1},
    ), gone


@FEW
@given(histories(), st.data())
def test_removing_a_damaged_one_moves_its_count_too(history, data):
    history.status, history.drain_ended_by, history.close_stripes = "complete", "quiet", True
    before = reckoned(history)
    damaged = [event for event in history.events if "bytes" in event]
    if not damaged:
        return
    history.events.remove(data.draw(st.sampled_from(damaged)))
    after = reckoned(history)
    coherent(after)
    moved = Counter[str]()
    for term in TERMS:
        moved[term] = sum(getattr(phase, term) for phase in (after.measure, after.warm_up))
        moved[term] -= sum(getattr(phase, term) for phase in (before.measure, before.warm_up))
    assert moved["owed"] == moved["delivered"] + moved["lost"] + moved["indeterminate"] == 0
    assert moved["corrupted"] == -1


@FEW
@given(histories(), st.data())
def test_a_journal_cut_at_any_byte_is_one_torn_record_at_most(history, data):
    history.node_line(0, 1, "start", pid=1).gap(0, 10, 20).fan_out(0, 1, 30)
    history.fault("crash", "node-1", 100, 200)
    with written(history, frame_records=2) as rundir:
        path = data.draw(st.sampled_from([*sorted(rundir.journal.iterdir()), rundir.faults]))
        length = data.draw(st.integers(0, path.stat().st_size))
        path.write_bytes(path.read_bytes()[:length])
        found = account(rundir)
    assert found.evidence.torn <= 1
    assert found.evidence.corrupt == 0
    coherent(found)


@pytest.mark.parametrize("kept", [0, 1, 5])
def test_a_cut_stripe_makes_the_run_partial(tmp_path, kept):
    history = History().subscribe(0)
    for seq in range(1, 6):
        history.publish(seq, seq * 10).deliver(0, seq, seq * 10 + 1)
    rundir = history.write(tmp_path / "run", frame_records=1)
    stripe = rundir.journal / "clients-0.stripe"
    tail = (12 + DELIVERY.size) * (5 - kept) + 12 + len(b"{}")  # a frame has 12 bytes of its own
    stripe.write_bytes(stripe.read_bytes()[:-tail])
    found = account(rundir)
    assert found.partial
    assert found.evidence.unclosed == 1
    assert (found.measure.owed, found.measure.delivered, found.measure.indeterminate) == (5, kept, 5 - kept)
