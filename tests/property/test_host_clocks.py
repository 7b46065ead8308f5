"""Publishers on another host: their clock is off by something within its bound, and no loss is told that is none."""

import copy
import shutil
import tempfile
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fanlab.ledger.account import account
from fanlab.ledger.records import Status
from fanlab.ledger.result import Account
from fanlab.report.summary import _hops
from support.examples import examples
from support.histories import History

CASES = settings(max_examples=examples(120), deadline=None, suppress_health_check=[HealthCheck.too_slow])
Key = tuple[int, int, int]


def accounted(history: History) -> Account:
    folder = Path(tempfile.mkdtemp(prefix="fanlab-test-"))
    try:
        return account(history.write(folder / "run"))
    finally:
        shutil.rmtree(folder)


def lost(found: Account) -> set[Key]:
    return {(int(row["client"]), int(row["stream"]), int(row["seq"])) for row in found.losses}


def life(seed: int) -> History:
    """Clients that come and go in the middle, messages all the time, a few of which do not come."""
    random = Random(seed)  # noqa: S311 - reproducible on purpose
    history = History(clients=3, quiet_ms=random.choice((0, 20)))
    for seq in range(1, 40):
        status = random.choice((Status.OK,) * 9 + (Status.TIMED_OUT,))
        history.publish(seq, 100 + seq * 20, status=status, lag=random.random(), took=random.random() * 3)
    for client in range(3):
        comes, goes = random.randint(-1500, 400), random.randint(450, 1400)
        history.subscribe(client, node=client, at=comes, lag=random.randint(1, 30)).leave(client, goes)
        for intended, seq, _ in list(history.intents):
            at_ms = (intended - 1_000_000_000_000) / 1e6
            if comes + 2 <= at_ms <= goes and random.random() < 0.9:
                history.deliver(client, seq, at_ms + 4)
    return history


@CASES
@given(st.integers(0, 2**32), st.floats(-30, 30), st.floats(0, 5), st.floats(0, 5))
@example(1, 0.0, 0.0, 0.0)
def test_an_error_within_the_bound_makes_no_loss_and_nothing_unexpected(
    seed: int, error_ms: float, below: float, above: float
) -> None:
    truth = accounted(life(seed))
    seen = accounted(life(seed).ahead(error_ms).compared(error_ms - below - 0.001, error_ms + above + 0.001))
    assert seen.clock.basis == "exchange"
    assert seen.measure.owed == seen.measure.delivered + seen.measure.lost + seen.measure.indeterminate
    assert lost(seen) <= lost(truth)
    assert seen.measure.unexpected <= truth.measure.unexpected
    assert seen.measure.delivered >= truth.measure.delivered


@CASES
@given(st.integers(0, 2**32), st.floats(0.001, 5))
def test_the_same_on_one_clock_as_with_an_error_of_nothing(seed: int, bound_ms: float) -> None:
    truth, seen = accounted(life(seed)), accounted(life(seed).compared(-bound_ms, bound_ms))
    assert lost(seen) <= lost(truth)
    assert seen.hops["schedule"].max_ns == truth.hops["schedule"].max_ns, "the publishers' own time is theirs"


def joins_late() -> History:
    """A client whose subscription is confirmed 0.1 ms after a message was sent, which it does not get."""
    history = History().subscribe(0, at=500 - 2.2, took=1, lag=1.2).publish(1, at=499.8, lag=0.1, took=0.05)
    return history.publish(2, at=510).deliver(0, 2, at=511)


def test_without_the_bound_it_would_be_told_as_a_loss() -> None:
    """The fault planted: a clock that is 0.5 ms ahead, taken for the same."""
    assert accounted(joins_late()).measure.lost == 0
    assert accounted(joins_late().ahead(0.5)).measure.lost == 1
    put_right = accounted(joins_late().ahead(0.5).compared(0.4, 0.6))
    assert (put_right.measure.lost, put_right.measure.indeterminate) == (0, 1)


def hosts(found: Account) -> list[str]:
    return [line for line in found.evidence.coarse if "hosts" in line]


def test_losses_say_how_well_the_hosts_times_compare() -> None:
    history = History().subscribe(0).publish(1, at=100).publish(2, at=110).deliver(0, 2, at=112)
    assert hosts(accounted(copy.deepcopy(history))) == []
    [said] = hosts(accounted(history.compared(-1, 2)))
    assert "± 2 ms" in said


def test_without_a_loss_nothing_is_said() -> None:
    history = History().subscribe(0).publish(1, at=100).deliver(0, 1, at=102)
    assert hosts(accounted(history.compared(-1, 2))) == []


@pytest.mark.parametrize("ahead", [-2.9, 0.1])
def test_hops_between_hosts_are_put_right_by_their_own_offset(ahead: float) -> None:
    history = History().subscribe(0)
    for seq in range(1, 190):
        history.publish(seq, at=seq * 5, lag=0, took=0.1).fan_out(0, seq, at=seq * 5 + 1)
        history.deliver(0, seq, at=seq * 5 + 2)
    found = accounted(history.ahead(ahead).compared(ahead - 0.1, ahead + 0.1))
    hops = _hops(found.hops, found.clock)
    assert hops["schedule"]["p50"] == 0
    assert hops["redis"]["p50"] == pytest.approx(1.0, rel=0.02)
    assert hops["node"]["p50"] == pytest.approx(0.5, rel=0.02)
    assert hops["client"]["p50"] == pytest.approx(0.5, rel=0.02)


def test_a_hop_within_the_bound_is_not_told() -> None:
    history = History().subscribe(0)
    for seq in range(1, 190):
        history.publish(seq, at=seq * 5, lag=0, took=0.1).fan_out(0, seq, at=seq * 5 + 1)
        history.deliver(0, seq, at=seq * 5 + 2)
    found = accounted(history.compared(-1.5, 1.5))
    hops = _hops(found.hops, found.clock)
    assert hops["redis"]["p50"] is None
    assert hops["client"]["p50"] is not None, "both ends are of one boot"
