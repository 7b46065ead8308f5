"""The ledger and the SQL checker agree to the message on any history, and a falsified input of one is found."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fanlab.agreement import Agreement, compare
from fanlab.crosscheck.answers import TERMS, Crosscheck
from fanlab.errors import MeasurementError
from fanlab.ledger.account import account
from fanlab.rundir import RunDir
from support.examples import examples
from support.nasty import nasty_history, write_nasty

CASES = settings(max_examples=examples(250), deadline=None, suppress_health_check=[HealthCheck.too_slow])
FEW = settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.too_slow])
SEEDS = st.integers(0, 2**32)  # one draw decides all: fast, and still reproducible


@contextmanager
def written(seed: int, *, damaged: bool = False) -> Iterator[RunDir]:
    random = Random(seed)  # noqa: S311 - reproducible on purpose
    folder = Path(tempfile.mkdtemp(prefix="fanlab-test-"))
    history = nasty_history(random)
    if seed % 3 == 0:  # the publishers are on another host
        low, way = (seed // 3) % 61 - 40, (seed // 183) % 50
        history.compared(low, low + way).compared(low - 1, low + way, "after")
    try:
        yield write_nasty(history, folder / "run", random, damaged=damaged)
    finally:
        shutil.rmtree(folder)


def agreement(rundir: RunDir) -> Agreement:
    with Crosscheck(rundir.path) as second:
        return compare(account(rundir), second)


def told(found: Agreement) -> list[str]:
    """What differs, in words."""
    counts = [f"{one.phase} {one.term}: ledger {one.ledger}, SQL {one.sql}" for one in found.counts if not one.agrees]
    return counts + [str(one) for one in found.differences]


@CASES
@given(SEEDS)
def test_they_agree_on_any_history(seed):
    with written(seed) as rundir:
        try:
            found = agreement(rundir)
        except MeasurementError:
            return  # a life that jumped from stripe to stripe at one instant: the first refuses what cannot have been
    assert told(found) == []
    assert found.agrees


@CASES
@given(SEEDS)
def test_they_agree_on_what_is_left_of_damaged_journals(seed):
    with written(seed, damaged=True) as rundir:
        try:
            found = agreement(rundir)
        except MeasurementError:
            return  # a journal that cannot be believed is refused by the first; the second is not asked
    assert told(found) == []


def test_the_histories_have_everything_in_them():
    judged, there = 0, set()
    for seed in range(60):
        with written(seed, damaged=seed % 2 == 0) as rundir, suppress(MeasurementError):
            there |= {(one.phase, one.term) for one in agreement(rundir).counts if one.sql}
            judged += 1
    assert judged > 50
    assert there == {(phase, term) for phase in ("measure", "warm_up") for term in TERMS}
