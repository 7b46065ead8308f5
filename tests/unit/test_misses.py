"""Why a node's cache missed an update, from a few times that can be told at a glance.

Times in ms from time 0; the node is `node-1`, and an update's publish is answered 0.2 ms after it was sent.
"""

from collections.abc import Sequence

import numpy as np
import pytest

from fanlab.ledger.cached import MissCause, MissHop
from fanlab.ledger.misses import Missed, Subscriber, explain_misses
from fanlab.ledger.nodejournal import NodeJournal, SubscriptionLine
from fanlab.ledger.result import FaultAccount
from support.histories import ns

TOOK = 0.2
UNEXPLAINED = ("unexplained", "redis_node", -1)


def fault(kind: str, target: str, at: float | None, healed: float | None = None) -> FaultAccount:
    """Requested and confirmed at once; `at` None: never injected, `healed` None: never seen healed."""
    bit, over = (None if t is None else ns(t) for t in (at, healed))
    return FaultAccount(0, kind, target, bit, bit, over, over, heals=healed is not None)


def journal(
    *,
    starts: Sequence[float] = (-2000,),
    subscribed: Sequence[float] = (),
    channel: str = "news",
    had: Sequence[float] = (),
    gaps: Sequence[tuple[float, float]] = (),
) -> NodeJournal:
    """A node's journal; a message that it `had` took it 50 ms to hand on."""
    return NodeJournal(
        messages=np.array([(0, 1, ns(t), ns(t + 50)) for t in had], np.int64).reshape(-1, 4),
        starts=[ns(t) for t in starts],
        subscriptions=[SubscriptionLine(ns(t), channel, "subscribed") for t in subscribed],
        gaps=[("news", ns(start), ns(end)) for start, end in gaps],
    )


def explained(
    sent: Sequence[float],
    *faults: FaultAccount,
    journal: NodeJournal | None,
    failed: bool = False,
    receivers: int = 1,
    heard: bool = False,
    channel: str = "news",
    took: float = TOOK,
    kills: Sequence[float] = (),
) -> list[tuple[str, str, int]]:
    """(cause, hop, fault) of an update sent at each of these times."""
    count = len(sent)
    missed = Missed(
        channel=np.full(count, channel),
        sent_ns=np.array([ns(t) for t in sent], np.int64),
        done_ns=np.array([ns(t + took) for t in sent], np.int64),
        failed=np.full(count, failed),
        receivers=np.full(count, receivers),
        heard=np.full(count, heard),
    )
    cause, hop, of = explain_misses(missed, Subscriber("node-1", journal, faults, [ns(t) for t in kills]))
    return [(MissCause(c).label, MissHop(h).label, int(f)) for c, h, f in zip(cause, hop, of, strict=True)]


def causes(sent: Sequence[float], *faults: FaultAccount, **more) -> list[str]:
    return [cause for cause, _, _ in explained(sent, *faults, **more)]


OTHERS = fault("crash", "node-2", 100, 900)
REDIS = fault("redis-restart", "redis", 290, 400)
CRASH = fault("crash", "node-1", 290, 400)
GAP = journal(gaps=[(290, 400)])


@pytest.mark.parametrize(
    ("faults", "more", "expected"),
    [
        ([REDIS], {"failed": True}, ("redis_down", "publisher_redis", 1)),
        ([CRASH], {"failed": True}, ("publish_failed", "publisher_redis", -1)),
        ([], {"heard": True}, ("not_taken", "node_cache", -1)),
        ([CRASH], {}, ("node_down", "redis_node", 1)),
        ([fault("crash", "node-1", 305)], {}, ("node_crash_in_flight", "unknown", 1)),
        ([fault("crash", "node-1", 305)], {"heard": True}, ("node_crash_in_flight", "unknown", 1)),
        ([REDIS], {"journal": GAP, "kills": [289]}, ("output_buffer_kill", "redis_node", 1)),
        ([REDIS], {"journal": GAP}, ("resubscribe_gap", "redis_node", 1)),
        ([REDIS], {"receivers": 0}, ("no_subscriber", "redis_node", 1)),
        ([], {"receivers": 0}, ("no_subscriber", "redis_node", -1)),
        ([REDIS], {"journal": None}, ("resubscribe_gap", "redis_node", 1)),
        ([REDIS], {}, UNEXPLAINED),
        ([], {}, UNEXPLAINED),
        ([], {"journal": None}, ("unexplained", "unknown", -1)),
    ],
)
def test_each_cause(faults: list[FaultAccount], more: dict, expected: tuple[str, str, int]) -> None:
    assert explained([300], OTHERS, *faults, **{"journal": journal(), **more}) == [expected]


@pytest.mark.parametrize(
    ("faults", "more", "expected"),
    [
        ([REDIS, CRASH], {"failed": True, "heard": True}, "redis_down"),
        ([CRASH], {"failed": True, "heard": True}, "publish_failed"),
        ([CRASH], {"heard": True}, "not_taken"),
        ([CRASH], {"kills": [289], "journal": GAP, "receivers": 0}, "node_down"),
        ([fault("crash", "node-1", 305)], {"kills": [289], "journal": GAP, "receivers": 0}, "output_buffer_kill"),
        ([fault("crash", "node-1", 305)], {"journal": GAP, "receivers": 0}, "resubscribe_gap"),
        ([fault("crash", "node-1", 305)], {"receivers": 0}, "node_crash_in_flight"),
        ([REDIS], {"journal": None, "receivers": 0}, "no_subscriber"),
    ],
)
def test_of_several_causes_the_first_in_the_table_decides(
    faults: list[FaultAccount], more: dict, expected: str
) -> None:
    assert causes([300], *faults, **{"journal": journal(), **more}) == [expected]


def test_a_crash_of_another_node_explains_nothing() -> None:
    assert explained([80, 300], OTHERS, journal=journal()) == [UNEXPLAINED, UNEXPLAINED]


def test_a_fault_that_was_never_injected_explains_nothing() -> None:
    assert explained([300], fault("crash", "node-1", None), journal=journal()) == [UNEXPLAINED]
    assert causes([300], fault("pause", "node-1", None), CRASH, journal=journal()) == ["node_down"]


def test_what_was_under_way_within_a_second_before_the_node_died_may_have_died_with_it() -> None:
    crash = fault("crash", "node-1", 2000)
    died = ("node_crash_in_flight", "unknown", 0)
    assert explained([1000 - TOOK - 0.001, 1000 - TOOK, 1999], crash, journal=journal()) == [UNEXPLAINED, died, died]


@pytest.mark.parametrize(("sent", "expected"), [(299, "node_crash_in_flight"), (300, "node_down"), (301, "not_taken")])
def test_a_message_that_the_node_had_went_with_it_if_sent_by_the_instant_of_its_death(
    sent: float, expected: str
) -> None:
    assert causes([sent], fault("stop", "node-1", 300), journal=journal(), heard=True, took=0) == [expected]


def test_each_of_several_deaths_takes_what_was_in_flight() -> None:
    deaths = fault("crash", "node-1", 300, 400), OTHERS, fault("stop", "node-1", 2300, 2400)
    died = "node_crash_in_flight", "unknown"
    assert explained([299, 2299], *deaths, journal=journal(subscribed=[401, 2401])) == [(*died, 0), (*died, 2)]


def test_a_node_is_down_from_its_death_until_redis_has_confirmed_its_channel_again() -> None:
    lines = journal(starts=[-2000, 410], subscribed=[-1999, 450, 600])
    down = ("node_down", "redis_node", 1)
    sent = [290 - TOOK, 350, 450, 450.001]
    assert explained(sent, OTHERS, CRASH, journal=lines) == [down, down, down, UNEXPLAINED]


def test_a_confirmation_at_the_instant_of_a_crash_was_the_dead_process_own() -> None:
    assert causes([350, 470], CRASH, journal=journal(subscribed=[290, 450])) == ["node_down", "unexplained"]


@pytest.mark.parametrize("lines", [journal(), None, journal(subscribed=[320], channel="sports")])
def test_without_a_word_on_its_subscription_a_node_is_up_when_the_fault_has_healed(lines: NodeJournal | None) -> None:
    assert causes([400, 400.001], CRASH, journal=lines) == ["node_down", "unexplained"]


def test_only_a_confirmation_ends_the_time_that_a_node_is_down() -> None:
    lines = journal(subscribed=[450])
    lines.subscriptions.insert(0, SubscriptionLine(ns(420), "news", "unsubscribed"))
    assert causes([430], CRASH, journal=lines) == ["node_down"]


def test_a_node_that_never_came_back_is_down_to_the_end() -> None:
    """Redis confirmed its channel when its death was under way already."""
    lines = journal(subscribed=[291])
    assert causes([300, 5000], fault("crash", "node-1", 290), journal=lines) == ["node_down"] * 2


def test_each_of_several_deaths_puts_the_node_down() -> None:
    faults = CRASH, fault("redis-restart", "redis", 450, 460), fault("stop", "node-1", 2290, 2400)
    assert explained([350, 2350], *faults, journal=journal()) == [
        ("node_down", "redis_node", 0),
        ("node_down", "redis_node", 2),
    ]


@pytest.mark.parametrize(
    ("kind", "healed", "expected"),
    [
        ("pause", None, "node_down"),
        ("pause", 400, "unexplained"),  # a paused node keeps its subscription, and takes it all when it goes on
        ("slow", None, "unexplained"),
    ],
)
def test_a_pause_puts_a_node_down_only_if_it_never_ends(kind: str, healed: float | None, expected: str) -> None:
    assert causes([300], fault(kind, "node-1", 290, healed), journal=journal()) == [expected]


def test_a_node_that_began_anew_by_itself_was_down_since_its_last_message() -> None:
    lines = journal(starts=[500, -2000], subscribed=[-1999, 520], had=[200, 300, 500, 600])
    down = ("node_down", "redis_node", -1)
    sent = [300 - TOOK - 0.001, 300 - TOOK, 510, 521]
    assert explained(sent, OTHERS, OTHERS, journal=lines) == [UNEXPLAINED, down, down, UNEXPLAINED]


def test_a_node_that_began_anew_without_any_message_was_down_at_its_start() -> None:
    lines = journal(starts=[-2000, 500], subscribed=[520])
    assert causes([400, 510], journal=lines) == ["unexplained", "node_down"]


@pytest.mark.parametrize("started", [2290, 2350, 2400])
def test_a_start_that_a_fault_asked_for_is_no_death_of_its_own(started: float) -> None:
    lines = journal(starts=[-2000, started], had=[100])
    assert causes([200], fault("crash", "node-1", 2290, 2400), journal=lines) == ["unexplained"]


def test_a_gap_holds_what_was_published_from_its_first_instant_to_its_last() -> None:
    lines = journal(gaps=[(290, 400), (600, 700)])
    sent = [290 - TOOK - 0.001, 290 - TOOK, 400, 400.001, 650]
    gap = ("resubscribe_gap", "redis_node", -1)
    assert explained(sent, OTHERS, OTHERS, journal=lines) == [UNEXPLAINED, gap, gap, UNEXPLAINED, gap]
    assert causes([300], journal=lines, channel="sports") == ["unexplained"]


def test_a_gap_goes_back_to_redis_fault_else_to_the_nodes_own() -> None:
    pause = fault("pause", "node-1", 280, 380)
    for faults, expected in [((OTHERS, pause), 1), ((pause, REDIS), 1), ((REDIS, pause), 0), ((OTHERS,), -1)]:
        assert explained([300], *faults, journal=GAP) == [("resubscribe_gap", "redis_node", expected)]


@pytest.mark.parametrize(
    ("killed", "expected"),
    [
        (-710.001, "resubscribe_gap"),
        (-710, "output_buffer_kill"),  # a second before what the node calls the beginning of the gap
        (320, "output_buffer_kill"),
        (400, "output_buffer_kill"),
        (400.001, "resubscribe_gap"),
    ],
)
def test_a_gap_began_with_a_full_buffer_where_redis_closed_the_connection_around_it(
    killed: float, expected: str
) -> None:
    assert causes([300], journal=GAP, kills=[killed]) == [expected]


def test_each_gap_is_judged_by_its_own_kill() -> None:
    lines = journal(gaps=[(2000, 2100), (4000, 4100), (6000, 6100)])
    assert causes([2050, 4050, 6050], journal=lines, kills=[2001, 6001]) == [
        "output_buffer_kill",
        "resubscribe_gap",
        "output_buffer_kill",
    ]


def test_a_node_without_a_journal_is_cut_off_while_redis_is_at_fault_and_no_longer() -> None:
    assert causes([290 - TOOK - 0.001, 290 - TOOK, 400, 400.000001], REDIS, journal=None) == [
        "unexplained",
        "resubscribe_gap",
        "resubscribe_gap",
        "unexplained",
    ]


def test_a_publish_that_failed_within_two_seconds_after_redis_fault_goes_back_to_it() -> None:
    assert causes([2400, 2400.001], REDIS, journal=journal(), failed=True) == ["redis_down", "publish_failed"]
