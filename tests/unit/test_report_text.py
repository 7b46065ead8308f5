"""Names made harmless, figures made short."""

import math

import pytest

from fanlab.report import text


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("node-1", "node-1"),
        ("two\nlines\tand  more", "two lines and more"),
        ("\x1b[31mred\x07", "[31mred"),
        ("abc\u202etxt.exe", "abctxt.exe"),
        ("\u2066isolated\u2069 \u200fmark", "isolated mark"),
        ("half \ud83d surrogate", "half surrogate"),
        ("family 👩‍👩‍👧 stays", "family 👩‍👩‍👧 stays"),
        ("para\u2029graph\u0085next", "para graphnext"),
        (None, "None"),
    ],
)
def test_a_name_becomes_one_printable_line(raw, shown):
    assert text.clean(raw) == shown


def test_a_long_name_is_cut_with_an_ellipsis():
    assert text.clean("x" * 500, 20) == "x" * 19 + "…"
    assert len(text.clean("y" * 500)) == 160


def test_a_block_keeps_its_lines_and_indentation():
    assert text.clean_block("a:\n  b: \x00\u202ec\n") == "a:\n  b: c"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0 ms"),
        (0.3124, "0.312 ms"),
        (1.3, "1.3 ms"),
        (508.04, "508 ms"),
        (999.96, "1,000 ms"),
        (1620.0, "1.62 s"),
        (None, "–"),
        (math.nan, "–"),
        (math.inf, "–"),
        (True, "–"),
    ],
)
def test_milliseconds(value, shown):
    assert text.ms(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0 %"),
        (0.0206, "2.06 %"),
        (1, "100 %"),
        (0.000_001, "< 0.001 %"),
        (0.999_99, "> 99.9 %"),  # never rounds to all of it
        (None, "–"),
    ],
)
def test_ratios_never_round_to_nothing_or_to_all(value, shown):
    assert text.ratio(value) == shown


def test_differences():
    assert text.difference(550, 500) == "+10.0 %"
    assert text.difference(450, 500.0) == "−10.0 %"
    assert text.difference(450, 0) == text.difference(450, None) == text.difference(None, 3) == "–"


def test_counts_lists_and_labels():
    assert text.count(1234567) == "1,234,567"
    assert text.count(None) == "–"
    assert text.listing(["a", "b", "c"]) == "a, b and c"
    assert text.listing([]) == ""
    assert text.label("node_crash_in_flight") == "node crash in flight"


def test_moments():
    assert text.moment("20251122T194703Z") == text.moment("2025-11-22T19:47:03.25Z") == "2025-11-22 19:47:03 UTC"
    assert text.moment("some\nday") == "some day"
    assert text.moment(None) == ""
