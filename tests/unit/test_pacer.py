"""The pacer: tables for each kind of rate, and the integral as an oracle."""

from collections.abc import Iterator
from itertools import islice, takewhile
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from fanlab.clock import NS_PER_MS, NS_PER_S
from fanlab.load.pacer import expected_count, offsets_ns
from fanlab.scenario.model import BurstRate, ConstantRate, PoissonRate, RampRate, Rate, Step, StepRate
from fanlab.seed import rng

RATE: TypeAdapter[Any] = TypeAdapter(Rate)


def offsets_ms(rate: Any, phase: float = 0.0) -> Iterator[float]:
    return (offset / NS_PER_MS for offset in offsets_ns(RATE.validate_python(rate), rng(1, "test"), phase=phase))


def step(*steps: tuple[str, str]) -> dict[str, Any]:
    return {"kind": "step", "steps": [{"at": at, "rate": rate} for at, rate in steps]}


@pytest.mark.parametrize(
    ("rate", "phase", "expected_ms"),
    [
        ("10/s", 0.0, [0, 100, 200, 300]),
        ("10/s", 0.5, [50, 150, 250, 350]),
        ("1k/s", 0.0, [0, 1, 2, 3]),
        ({"kind": "burst", "size": 3, "every": "1s"}, 0.0, [0, 0, 0, 1000, 1000, 1000, 2000]),
        ({"kind": "burst", "size": 2, "every": "1s"}, 0.25, [250, 250, 1250, 1250]),
        # 0 → 20/s over 2 s: N(t) = 5·t², so slot k is due at sqrt(k / 5) s, and from 2 s (N = 20) every 50 ms.
        (
            {"kind": "ramp", "from": "0/s", "to": "20/s", "over": "2s"},
            0.0,
            [0, 447.213595, 632.455532, 774.596669, 894.427191],
        ),
        ({"kind": "ramp", "from": "5/s", "to": "10/s", "over": 0}, 0.0, [0, 100, 200]),
        (step(("0s", "10/s"), ("200ms", "5/s")), 0.0, [0, 100, 200, 400, 600]),
        # Nothing while the rate is zero; the slot on the edge waits until it is back.
        (step(("0s", "10/s"), ("200ms", "0/s"), ("1s", "10/s")), 0.0, [0, 100, 1000, 1100]),
        (step(("0s", "0/s"), ("1s", "10/s")), 0.0, [1000, 1100, 1200]),
        (step(("0s", "10/s"), ("50ms", "0/s"), ("1s", "10/s")), 0.5, [1000, 1100]),
        (step(("0s", "10/s"), ("100ms", "0/s"), ("1s", "10/s")), 0.5, [50, 1050, 1150]),
    ],
)
def test_offsets(rate: Any, phase: float, expected_ms: list[float]) -> None:
    assert list(islice(offsets_ms(rate, phase), len(expected_ms))) == pytest.approx(expected_ms, abs=1e-5)


def test_ramp_goes_on_steadily() -> None:
    offsets = list(islice(offsets_ms({"kind": "ramp", "from": "0/s", "to": "20/s", "over": "2s"}), 24))
    assert offsets[20:] == pytest.approx([2000, 2050, 2100, 2150])


@pytest.mark.parametrize(
    ("rate", "slots"),
    [
        ("0/s", 0),
        ({"kind": "poisson", "rate": "0/s"}, 0),
        (step(("0s", "10/s"), ("1s", "0/s")), 10),
        ({"kind": "ramp", "from": "10/s", "to": "0/s", "over": "2s"}, 10),
    ],
)
def test_a_rate_that_ends_at_zero_ends_the_schedule(rate: Any, slots: int) -> None:
    assert len(list(islice(offsets_ms(rate), 100))) == slots


@pytest.mark.parametrize(
    "rate",
    [
        PoissonRate(kind="poisson", rate="1e-300/h"),
        ConstantRate(rate="1e-300/h"),
        RampRate(**{"kind": "ramp", "from": "0/s", "to": "1e-300/s", "over": "1h"}),
    ],
)
def test_a_rate_so_near_to_zero_that_it_is_none(rate: Any) -> None:
    assert [offset for offset in offsets_ns(rate, rng(1, "p")) if offset > 0] == []


def test_poisson_is_seeded_and_has_the_right_mean() -> None:
    rate = PoissonRate(kind="poisson", rate="1k/s")
    first, again, other = (list(islice(offsets_ns(rate, rng(seed, "publisher", 0)), 20_000)) for seed in (1, 1, 2))
    assert first == again != other
    assert first[-1] / NS_PER_S == pytest.approx(20, rel=0.05)  # 20 s of 1000/s; one standard deviation is 0.7 %


rates = st.floats(0, 5000, allow_nan=False)
spans_ns = st.integers(1, 3 * NS_PER_S)
any_rate = st.one_of(
    st.builds(lambda r: ConstantRate.model_construct(rate_per_s=r), rates),
    st.builds(
        lambda a, b, t: RampRate.model_construct(kind="ramp", from_per_s=a, to_per_s=b, over_ns=t),
        rates,
        rates,
        spans_ns,
    ),
    st.builds(
        lambda first, more: StepRate.model_construct(
            kind="step",
            steps=[
                Step.model_construct(at_ns=0, rate_per_s=first),
                *(Step.model_construct(at_ns=at, rate_per_s=r) for at, r in sorted(more.items())),
            ],
        ),
        rates,
        st.dictionaries(spans_ns, st.one_of(st.just(0.0), rates), max_size=4),
    ),
)


@settings(max_examples=60, deadline=None)
@given(
    rate=any_rate, phase=st.floats(0, 0.999), start_ns=st.integers(0, 2 * NS_PER_S), length_ns=st.integers(1, NS_PER_S)
)
def test_counts_follow_the_integral(rate: Any, phase: float, start_ns: int, length_ns: int) -> None:
    end_ns = start_ns + length_ns
    offsets = list(takewhile(lambda offset: offset < end_ns, offsets_ns(rate, rng(1), phase=phase)))
    assert offsets == sorted(offsets)
    counted = sum(offset >= start_ns for offset in offsets)
    # Within one of the integral; rounding to whole nanoseconds may move a slot over either edge.
    assert abs(counted - expected_count(rate, start_ns, end_ns)) <= 1 + 1e-4


@settings(max_examples=30, deadline=None)
@given(size=st.integers(1, 50), every_ns=st.integers(NS_PER_MS, NS_PER_S), phase=st.floats(0, 0.999))
def test_bursts_follow_the_integral(size: int, every_ns: int, phase: float) -> None:
    rate = BurstRate.model_construct(kind="burst", size=size, every_ns=every_ns)
    end_ns = 2 * NS_PER_S
    offsets = list(takewhile(lambda offset: offset < end_ns, offsets_ns(rate, rng(1), phase=phase)))
    assert abs(len(offsets) - expected_count(rate, 0, end_ns)) <= size
