import pytest

from fanlab import units


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("250ms", 250_000_000),
        ("1.5s", 1_500_000_000),
        ("1m30s", 90 * 10**9),
        ("2us", 2000),
        ("7ns", 7),
        ("1h", 3600 * 10**9),
        (0, 0),
        ("0s", 0),
    ],
)
def test_durations(text: object, ns: int) -> None:
    assert units.parse_duration_ns(text) == ns


@pytest.mark.parametrize("wrong", ["5", 5, "-1s", "1 s", "1x", "", None, True, "1s2", "s", [], "\u0661s"])
def test_what_is_no_duration_is_refused_with_an_example(wrong: object) -> None:
    with pytest.raises(ValueError, match="write it with a unit, as 250ms"):
        units.parse_duration_ns(wrong)


@pytest.mark.parametrize(
    ("text", "per_s"), [("50/s", 50), ("2k/s", 2000), ("30/min", 0.5), ("1/ms", 1000), ("0/s", 0), ("1.5M/s", 1.5e6)]
)
def test_rates(text: str, per_s: float) -> None:
    assert units.parse_rate_per_s(text) == pytest.approx(per_s)


@pytest.mark.parametrize("wrong", ["50", 50, "-1/s", "1/year", "", None, "1e999/s", "/s"])
def test_what_is_no_rate_is_refused_with_an_example(wrong: object) -> None:
    with pytest.raises(ValueError, match="write it with a unit, as 50/s"):
        units.parse_rate_per_s(wrong)


@pytest.mark.parametrize(
    ("text", "size"), [("128B", 128), (128, 128), ("64kB", 64_000), ("1MiB", 1 << 20), ("1.5kB", 1500)]
)
def test_sizes(text: object, size: int) -> None:
    assert units.parse_size_bytes(text) == size


@pytest.mark.parametrize("wrong", ["1GBs", -1, "0.3B", "", None, True])
def test_what_is_no_size_is_refused_with_an_example(wrong: object) -> None:
    with pytest.raises(ValueError, match="write it as 128B"):
        units.parse_size_bytes(wrong)


@pytest.mark.parametrize(
    ("ns", "text"), [(1_500_000_000, "1.5s"), (250_000_000, "250ms"), (0, "0s"), (2_000, "2us"), (-5_000_000, "-5ms")]
)
def test_durations_are_written_in_their_shortest_form(ns: int, text: str) -> None:
    assert units.format_duration(ns) == text


@pytest.mark.parametrize(("rate", "text"), [(50.0, "50/s"), (2000.0, "2k/s"), (1234.0, "1234/s"), (0.5, "0.5/s")])
def test_rates_are_written_in_their_shortest_form(rate: float, text: str) -> None:
    assert units.format_rate(rate) == text


def test_bytes_are_written_in_decimal_units() -> None:
    assert [units.format_bytes(size) for size in (12, 1500, 2_000_000, 3_000_000_000)] == [
        "12 B",
        "1.5 kB",
        "2 MB",
        "3 GB",
    ]
