"""`make faults` itself: which row passes, and why another does not."""

from typing import Any

import pytest

from faults.faults import judge

GOOD = {"requested": 1.0, "confirmed": 1.01, "heal_requested": 1.4, "heal_confirmed": 1.41}


def judged(times: int = 2, told: list[dict[str, Any]] | None = None, backend: str = "process", **changes: Any) -> str:
    """Why a row of two pauses has not passed."""
    told = [GOOD, GOOD] if told is None else told
    plan = {"at_ns": 10**9, "for_ns": 4 * 10**8}
    manifest = {"faults": [plan] * len(told), "fault_failures": [], **changes}
    return judge(backend, "pause", times, manifest, {"faults": told, "verdict": "pass", "reasons": []}).why


def test_a_row_passes_where_each_was_planned_confirmed_and_healed_in_time() -> None:
    assert judged() == ""


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ([GOOD], "1 of 2 were planned"),
        ([], "0 of 2 were planned"),
        ([GOOD, {**GOOD, "confirmed": None}], "not every one was confirmed and healed"),
        ([GOOD, {**GOOD, "heal_confirmed": None}], "not every one was confirmed and healed"),
        ([GOOD, {**GOOD, "requested": 1.2}], "one came 200 ms from its time"),
        ([GOOD, {**GOOD, "heal_requested": 1.6}], "one came 200 ms from its time"),
    ],
)
def test_and_not_where_one_is_missing_or_late(told: list[dict[str, Any]], why: str) -> None:
    assert judged(told=told) == why


def test_containers_have_no_promise_of_when() -> None:
    assert judged(told=[GOOD, {**GOOD, "requested": 1.2, "confirmed": 1.3}], backend="docker") == ""


def test_a_failure_is_told_in_its_own_words() -> None:
    assert judged(fault_failures=[{"fault": 0, "why": "it runs no more"}]) == "it runs no more"
