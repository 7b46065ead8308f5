"""A unit's own time against real time: it stands still, runs slowly, and never goes back."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fanlab.simulate.warp import Warp, released

MS = 1_000_000.0


def test_work_that_meets_a_pause_ends_later_by_the_pause() -> None:
    warp = Warp([(10 * MS, 30 * MS, 0.0)])
    assert warp.time(warp.work(5 * MS) + 2 * MS) == pytest.approx(7 * MS)
    assert warp.time(warp.work(9 * MS) + 2 * MS) == pytest.approx(31 * MS)
    assert warp.time(warp.work(20 * MS) + 2 * MS) == pytest.approx(32 * MS)  # what comes meanwhile waits for its end
    assert warp.time(warp.work(40 * MS) + 2 * MS) == pytest.approx(42 * MS)


def test_with_a_fifth_of_a_core_work_takes_five_times_as_long() -> None:
    warp = Warp([(10 * MS, 30 * MS, 0.2)])
    assert warp.time(warp.work(10 * MS) + 1 * MS) == pytest.approx(15 * MS)
    assert warp.time(warp.work(25 * MS) + 2 * MS) == pytest.approx(31 * MS)  # one of two within the quota


def test_stretches_that_overlap_are_refused() -> None:
    with pytest.raises(ValueError, match="overlap"):
        Warp([(0.0, 2.0, 0.0), (1.0, 3.0, 0.5)])


@given(
    st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50), st.sampled_from([0.0, 0.2, 0.5])), max_size=4),
    st.lists(st.integers(0, 400), min_size=1, max_size=20),
)
@example([(1, 16, 0.0), (1, 37, 0.2), (1, 19, 0.0)], [71])
def test_own_time_never_runs_faster_nor_back(gaps: list[tuple[int, int, float]], at: list[int]) -> None:
    stretches, now = [], 0.0
    for gap, length, speed in gaps:
        stretches.append((now + gap, now + gap + length, speed))
        now += gap + length
    warp, real = Warp(stretches), np.sort(np.array(at, np.float64))
    own = warp.work(real)
    assert (np.diff(own) <= np.diff(real) + 1e-6).all()
    assert (np.diff(own) >= -1e-6).all()
    back = warp.time(own)
    assert (back >= real - 1e-6).all()
    held = np.array([any(a <= t < b and not v for a, b, v in stretches) for t in real])
    assert back[~held] == pytest.approx(real[~held], abs=1e-6)


def test_what_a_link_holds_passes_when_it_lets_go() -> None:
    at = np.array([5.0, 10.0, 15.0, 20.0])
    assert released(at, [(10.0, 20.0)]).tolist() == [5.0, 20.0, 20.0, 20.0]
