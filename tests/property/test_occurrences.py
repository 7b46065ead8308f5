"""When a fault comes again: in order, never into itself, never after the end, the same for the same seed."""

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fanlab.clock import NS_PER_S
from fanlab.scenario.faults import NodeFault
from fanlab.scenario.occurrences import MOST, occurrences_ns

MS = 10**6


def crash(at_ms: int, for_ms: int, repeat: dict[str, Any] | None) -> NodeFault:
    return NodeFault.model_validate(
        {"kind": "crash", "target": "node-1", "at": f"{at_ms}ms", "for": f"{for_ms}ms", "repeat": repeat}
    )


def test_without_repeat_it_comes_once() -> None:
    assert occurrences_ns(crash(500, 100, None), 0, seed=1, end_ns=NS_PER_S) == (500 * MS,)


def test_periodic_ones_keep_their_pace_until_the_end_or_their_number() -> None:
    again = crash(500, 100, {"every": "200ms"})
    assert occurrences_ns(again, 0, seed=1, end_ns=NS_PER_S) == (500 * MS, 700 * MS, 900 * MS)
    assert occurrences_ns(again, 0, seed=1, end_ns=1100 * MS)[-1] == 900 * MS
    twice = crash(500, 100, {"every": "200ms", "times": 2})
    assert occurrences_ns(twice, 0, seed=1, end_ns=NS_PER_S) == (500 * MS, 700 * MS)


@given(
    at_ms=st.integers(0, 2000),
    for_ms=st.integers(1, 500),
    more_ms=st.integers(1, 1000),
    seed=st.integers(0, 50),
    times=st.none() | st.integers(2, 30),
    randomly=st.booleans(),
    end_ms=st.integers(1, 60_000),
)
def test_of_any_repeat(  # noqa: PLR0917
    at_ms: int, for_ms: int, more_ms: int, seed: int, times: int | None, randomly: bool, end_ms: int
) -> None:
    repeat = {"every": f"{for_ms + more_ms}ms", "times": times, "random": randomly}
    fault = crash(at_ms, for_ms, repeat)
    found = occurrences_ns(fault, 3, seed=seed, end_ns=end_ms * MS)
    assert found[0] == at_ms * MS
    assert all(later - earlier > for_ms * MS for earlier, later in pairwise(found))
    assert all(at_ns < end_ms * MS for at_ns in found[1:])
    assert len(found) <= (times or MOST)
    assert found == occurrences_ns(fault, 3, seed=seed, end_ns=end_ms * MS)


def test_random_gaps_have_the_mean_that_was_asked_for() -> None:
    fault = crash(0, 100, {"every": "300ms", "random": True})
    starts = [occurrences_ns(fault, 0, seed=seed, end_ns=40 * NS_PER_S) for seed in range(40)]
    gaps_ms = [(later - earlier) / MS for one in starts for earlier, later in pairwise(one)]
    assert 285 < sum(gaps_ms) / len(gaps_ms) < 315
    assert len(set(gaps_ms)) > 0.9 * len(gaps_ms)
    assert starts[0] != starts[1]
