"""Why a node's cache missed an update, from a few times that can be told at a glance.

Times in ms from time 0; the node is `node-1`, and an update's publish is answered 0.2 ms after it was sent. The other
two nodes had every update, each without telling.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from fanlab.ledger.breaks import breaks_of
from fanlab.ledger.cached import MissCause, MissHop
from fanlab.ledger.lost import Losses
from fanlab.ledger.messages import Messages
from fanlab.ledger.misses import explain_misses
from fanlab.ledger.nodejournal import NodeJournal, RedisLine, SubscriptionLine
from fanlab.ledger.records import Status
from fanlab.ledger.redisjournal import BufferKill, Gone, RedisJournal, Subscriber
from fanlab.ledger.result import FaultAccount
from fanlab.ledger.windows import NEVER
from support.histories import ns
from support.losses import NODES, world_with

TOOK = 0.2
UNEXPLAINED = ("unexplained", "redis_node", -1)
CHANNELS = ("news", "sports")
END = 9000


def fault(
    kind: str, target: str, at: float | None, healed: float | None = None, *, confirmed: float | None = None
) -> FaultAccount:
    """Confirmed at once unless told otherwise; `at` None: never injected, `healed` None: never seen healed."""
    asked, bit, over = (None if t is None else ns(t) for t in (at, at if confirmed is None else confirmed, healed))
    return FaultAccount(0, kind, target, asked, bit, over, over, heals=healed is not None)


def journal(
    *,
    starts: Sequence[float] = (-2000,),
    stops: Sequence[float] = (END,),
    subscribed: Sequence[float] = (),
    unsubscribed: Sequence[float] = (),
    down: Sequence[float] = (),
    channel: str = "news",
    had: Sequence[float] = (),
    gaps: Sequence[tuple[float, float]] = (),
) -> NodeJournal:
    """A node's journal, which it ended in order; a message that it `had` took it 50 ms to hand on."""
    lines = [(t, "subscribed") for t in subscribed] + [(t, "unsubscribed") for t in unsubscribed]
    return NodeJournal(
        messages=np.array([(0, 1, ns(t), ns(t + 50)) for t in had], np.int64).reshape(-1, 4),
        starts=[ns(t) for t in starts],
        stops=[ns(t) for t in stops],
        redis=[RedisLine(ns(t), "down") for t in down],
        subscriptions=[SubscriptionLine(ns(t), channel, state) for t, state in lines],
        gaps=[("news", ns(start), ns(end)) for start, end in gaps],
    )


def redis_says(
    *listed: tuple[float, float | None], kills: Sequence[float] = (), watched: tuple[float, float] | None = (-2000, END)
) -> RedisJournal:
    """Redis lists connections of the node from when to when (None: to the end), each polled 1 ms before and after."""
    return RedisJournal(
        tuple(Subscriber(ns(at), ns(at - 1), id_, "node-1", "", 0, 1, 0) for id_, (at, _) in enumerate(listed)),
        tuple(Gone(ns(to), ns(to - 1), id_, 0) for id_, (_, to) in enumerate(listed) if to is not None),
        tuple(BufferKill(ns(t), 99, "node-1", "", 0, 0) for t in kills),
        np.array([] if watched is None else [(ns(watched[0]), ns(watched[1]))], np.int64).reshape(-1, 2),
        log=True,
    )


def explained(
    sent: Sequence[float],
    *faults: FaultAccount,
    journal: NodeJournal | None,
    failed: bool = False,
    receivers: int | None = None,
    heard: bool = False,
    handed: bool = False,
    channel: str = "news",
    took: float = TOOK,
    came: Sequence[float] = (),
    others_had: bool = True,
    redis: RedisJournal | None = None,
    injected: int | None = None,
) -> list[tuple[str, str, int]]:
    """(cause, hop, fault) of an update sent at each of these times; those sent at `came` came to one of its clients.

    `receivers` None: all three nodes; `heard`: the node's journal has those that its cache missed, `handed`: its
    clients have them.
    """
    at = np.array([ns(t) for t in (*sent, *came)], np.int64)
    missed, count = len(sent), len(at)
    replied = np.full(count, 3 if receivers is None else receivers)
    messages = Messages(
        np.array([0, count]), at, at, at + round(took * 1e6),
        np.full(count, int(Status.FAILED if failed else Status.OK), np.uint8), np.where(failed, -1, replied),
    )  # fmt: skip
    gave = [(0, one) for one in range(0 if handed else missed, count)]
    others = [(node, one) for node in (1, 2) for one in range(count)] if others_had else []
    names = {name: place for place, name in enumerate(CHANNELS)}
    journals = {} if journal is None else {0: journal}
    world = world_with(
        faults=faults, injected=injected, messages=messages, handed=[*gave, *others], redis=redis,
        journals=list(journals), heard={0: dict.fromkeys(range(missed), ns(0))} if heard else {},
    )  # fmt: skip
    traffic = replace(world.traffic, journals=journals, channel=np.full(count, names[channel]))
    table = breaks_of(names, journals, redis, faults, NODES)
    losses = Losses(
        client=np.full(missed, -1), channel=np.full(missed, names[channel]), stream=np.zeros(missed, np.int64),
        seq=np.arange(missed) + 1, message=np.arange(missed), sent_ns=at[:missed], done_ns=messages.done_ns[:missed],
        status=messages.status[:missed], next_sent_ns=np.full(missed, NEVER),
    )  # fmt: skip
    cause, hop, of = explain_misses(losses, 0, replace(world, traffic=traffic, breaks=table), CHANNELS)
    return [(MissCause(c).label, MissHop(h).label, int(f)) for c, h, f in zip(cause, hop, of, strict=True)]


def causes(sent: Sequence[float], *faults: FaultAccount, **more) -> list[str]:
    return [cause for cause, _, _ in explained(sent, *faults, **more)]


OTHERS = fault("crash", "node-2", 100, 900)
REDIS = fault("redis-restart", "redis", 290, 400)
CRASH = fault("crash", "node-1", 290, 400)
CUT = fault("partition", "node-1", 290, 400)
GAP = journal(gaps=[(290, 400)])
ENDLESS = fault("crash", "node-1", 305)
TAIL_LOST = journal(stops=[])
DEAF = journal(subscribed=[-1900], down=[295])
UNCOUNTED = {"receivers": 2}
KILLED = redis_says(kills=[289])


@pytest.mark.parametrize(
    ("faults", "more", "expected"),
    [
        ([REDIS], {"failed": True}, ("redis_down", "publisher_redis", 1)),
        ([], {"failed": True, "redis": redis_says(watched=None)}, ("publish_failed", "publisher_redis", -1)),
        ([CRASH], {"failed": True}, ("publish_failed", "publisher_redis", -1)),
        ([], {"heard": True}, ("not_taken", "node_cache", -1)),
        ([], {"handed": True, "journal": None}, ("not_taken", "node_cache", -1)),
        ([CRASH], {}, ("node_down", "redis_node", 1)),
        ([ENDLESS], {"journal": TAIL_LOST}, ("node_crash_in_flight", "unknown", 1)),
        ([ENDLESS], {"journal": TAIL_LOST, "heard": True}, ("node_crash_in_flight", "unknown", 1)),
        ([ENDLESS], {"journal": TAIL_LOST, **UNCOUNTED}, ("node_crash_in_flight", "redis_node", 1)),
        ([REDIS], {"journal": GAP, "redis": KILLED}, ("output_buffer_kill", "redis_node", 1)),
        ([CUT], {}, ("partition", "redis_node", 1)),
        ([REDIS], {"journal": GAP}, ("resubscribe_gap", "redis_node", 1)),
        ([REDIS], {"journal": DEAF}, ("no_subscriber", "redis_node", 1)),
        ([], {"journal": DEAF}, ("no_subscriber", "redis_node", -1)),
        ([REDIS], UNCOUNTED, ("resubscribe_gap", "redis_node", 1)),
        ([], UNCOUNTED, ("no_subscriber", "redis_node", -1)),
        ([], {"receivers": 0}, ("no_subscriber", "redis_node", -1)),
        ([REDIS], {"journal": None, "receivers": 2, "others_had": False}, ("resubscribe_gap", "redis_node", 1)),
        ([REDIS], {"journal": None}, ("unexplained", "unknown", -1)),
        ([REDIS], {"receivers": 2, "others_had": False}, UNEXPLAINED),
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
        ([fault("crash", "node-1", 290, 400, confirmed=310)], {"heard": True, "came": [305]}, "not_taken"),
        ([CRASH], {"redis": KILLED, "journal": GAP, **UNCOUNTED}, "node_down"),
        ([ENDLESS, CUT], {"redis": KILLED, "journal": GAP, **UNCOUNTED}, "output_buffer_kill"),
        ([ENDLESS, CUT], {"journal": GAP, **UNCOUNTED}, "partition"),
        ([ENDLESS], {"journal": GAP, **UNCOUNTED}, "resubscribe_gap"),
        ([ENDLESS], {"journal": DEAF, **UNCOUNTED}, "no_subscriber"),
        ([ENDLESS], UNCOUNTED, "node_crash_in_flight"),
        ([REDIS], {"journal": None, **UNCOUNTED}, "resubscribe_gap"),
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


# It died


def test_what_was_under_way_within_a_second_before_the_node_died_may_have_died_with_it() -> None:
    crash = fault("crash", "node-1", 2000)
    died = ("node_crash_in_flight", "unknown", 0)
    assert explained([1000 - TOOK - 0.001, 1000 - TOOK, 1999], crash, journal=TAIL_LOST) == [
        ("unexplained", "unknown", -1),
        died,
        died,
    ]


def test_what_a_later_message_overtook_was_not_on_its_way_any_more() -> None:
    crash = fault("crash", "node-1", 2000)
    assert causes([1700, 1900], crash, journal=TAIL_LOST, came=[1800]) == ["unexplained", "node_crash_in_flight"]
    assert causes([1700], crash, journal=TAIL_LOST, came=[2000]) == ["unexplained"]
    assert causes([1700], crash, journal=TAIL_LOST, came=[2000.001]) == ["node_crash_in_flight"]


@pytest.mark.parametrize(("sent", "expected"), [(299, "node_crash_in_flight"), (300, "node_down"), (301, "node_down")])
def test_a_message_that_the_node_had_went_with_it_if_sent_before_the_instant_of_its_death(
    sent: float, expected: str
) -> None:
    assert causes([sent], fault("stop", "node-1", 300), journal=journal(), heard=True, took=0) == [expected]


def test_a_node_that_was_asked_to_end_takes_until_it_has() -> None:
    stop = fault("stop", "node-1", 300, confirmed=302)
    for sent in (299, 301):
        assert causes([sent], stop, journal=journal(), heard=True, took=0) == ["node_crash_in_flight"]
    assert causes([299, 301], stop, journal=journal(), heard=True, took=0) == ["not_taken", "node_crash_in_flight"]


def test_each_of_several_deaths_takes_what_was_in_flight() -> None:
    deaths = fault("crash", "node-1", 300, 400), OTHERS, fault("stop", "node-1", 2300, 2400)
    died = "node_crash_in_flight", "unknown"
    lines = journal(starts=[-2000, 400, 2400], subscribed=[-1999, 401, 2401])
    found = explained([299, 2299], *deaths, journal=lines, came=[1000])
    assert found == [(*died, 0), (*died, 2)]


# It was down


def test_a_node_is_down_from_its_death_until_redis_has_confirmed_its_channel_again() -> None:
    lines = journal(starts=[-2000, 410], subscribed=[-1999, 450, 600])
    down = ("node_down", "redis_node", 1)
    sent = [290 - TOOK, 350, 450, 450.001]
    assert explained(sent, OTHERS, CRASH, journal=lines, came=[500]) == [down, down, down, UNEXPLAINED]


def test_a_confirmation_at_the_instant_of_a_crash_was_the_dead_process_own() -> None:
    assert causes([350, 470], CRASH, journal=journal(subscribed=[290, 450]))[0] == "node_down"


@pytest.mark.parametrize("lines", [journal(), None, journal(subscribed=[320], channel="sports")])
def test_without_a_word_on_its_subscription_a_node_is_up_when_the_fault_has_healed(lines: NodeJournal | None) -> None:
    assert causes([400, 400.001], CRASH, journal=lines) == ["node_down", "unexplained"]


def test_only_a_confirmation_ends_the_time_that_a_node_is_down() -> None:
    lines = journal(subscribed=[450], unsubscribed=[420])
    assert causes([430], CRASH, journal=lines) == ["node_down"]


def test_a_node_that_never_came_back_is_down_to_the_end() -> None:
    """Redis confirmed its channel when its death was under way already."""
    lines = journal(subscribed=[291])
    assert causes([300, 5000], fault("crash", "node-1", 290), journal=lines) == ["node_down"] * 2


def test_a_node_of_which_nobody_saw_that_it_came_back_did_so_if_its_journal_goes_on() -> None:
    lines = journal(starts=[-2000, 2400], subscribed=[-1900, 2450])
    assert causes([300, 2440, 2460], fault("crash", "node-1", 290), journal=lines) == [
        "node_down",
        "node_down",
        "unexplained",
    ]
    began_before = journal(starts=[-2000, 290], subscribed=[-1900])
    assert causes([300, 2440], fault("crash", "node-1", 290), journal=began_before) == ["node_down"] * 2


def test_what_ended_by_itself_goes_back_to_no_fault() -> None:
    assert explained([300], OTHERS, CRASH, journal=journal(), injected=1) == [("node_down", "redis_node", -1)]


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
    found = explained(sent, OTHERS, OTHERS, journal=lines, came=[300 - TOOK - 0.0005])
    assert found == [("unexplained", "unknown", -1), down, down, UNEXPLAINED]


def test_a_node_that_began_anew_without_any_message_was_down_at_its_start() -> None:
    lines = journal(starts=[-2000, 500], subscribed=[520])
    assert causes([400, 510], journal=lines, came=[450]) == ["unexplained", "node_down"]


@pytest.mark.parametrize("started", [2290, 2350, 2400])
def test_a_start_that_a_fault_asked_for_is_no_death_of_its_own(started: float) -> None:
    lines = journal(starts=[-2000, started], had=[100])
    assert causes([200], fault("crash", "node-1", 2290, 2400), journal=lines) == ["unexplained"]


# It had no subscription


def test_a_gap_holds_what_was_published_from_its_first_instant_to_its_last() -> None:
    lines = journal(gaps=[(290, 400), (600, 700)])
    sent = [290 - TOOK - 0.002, 290 - TOOK, 400, 400.001, 650]
    gap = ("resubscribe_gap", "redis_node", -1)
    found = explained(sent, OTHERS, OTHERS, journal=lines, came=[290 - TOOK - 0.001, 500])
    assert found == [UNEXPLAINED, gap, gap, UNEXPLAINED, gap]
    assert causes([300], journal=lines, channel="sports") == ["unexplained"]


def test_what_was_on_its_way_when_a_gap_began_went_with_it() -> None:
    assert causes([280], journal=GAP) == ["resubscribe_gap"]
    assert causes([280], journal=GAP, came=[285]) == ["unexplained"]


def test_a_gap_goes_back_to_redis_fault_else_to_the_nodes_own() -> None:
    pause = fault("pause", "node-1", 280, 380)
    for faults, expected in [((OTHERS, pause), 1), ((pause, REDIS), 1), ((REDIS, pause), 0), ((OTHERS,), -1)]:
        assert explained([300], *faults, journal=GAP) == [("resubscribe_gap", "redis_node", expected)]


def test_each_gap_is_judged_by_its_own_kill() -> None:
    lines = journal(gaps=[(2000, 2100), (4000, 4100), (6000, 6100)])
    assert causes([2050, 4050, 6050], journal=lines, redis=redis_says(kills=[2001, 6001])) == [
        "output_buffer_kill",
        "resubscribe_gap",
        "output_buffer_kill",
    ]


@pytest.mark.parametrize("restart", [REDIS, fault("redis-kill-pubsub", "redis", 290, 400)])
def test_a_node_that_subscribed_to_nothing_after_a_break_is_told_by_its_own_journal(restart: FaultAccount) -> None:
    """It says that its connection went, and never again that Redis confirmed the channel: long after the fault, too."""
    assert explained([300, 8000], OTHERS, restart, journal=DEAF) == [("no_subscriber", "redis_node", 1)] * 2


def test_a_node_that_asks_for_another_channel_only_is_deaf_on_the_first() -> None:
    lines = journal(subscribed=[-1900], down=[295])
    lines.subscriptions.append(SubscriptionLine(ns(350), "sports", "subscribed"))
    assert explained([300, 8000], REDIS, journal=lines) == [("no_subscriber", "redis_node", 0)] * 2


def test_a_node_that_keeps_no_journal_is_told_by_redis_list() -> None:
    """Its connection is listed no more, or that of another session is."""
    gone, back = redis_says((-1900, 295)), redis_says((-1900, 295), (390, None))
    assert explained([300, 8000], REDIS, journal=None, redis=gone) == [("no_subscriber", "redis_node", 0)] * 2
    found = explained([300, 8000], REDIS, journal=None, redis=back, receivers=2, others_had=False)
    assert found == [("resubscribe_gap", "redis_node", 0), ("unexplained", "unknown", -1)]


def test_a_node_that_says_nothing_wrong_is_told_by_what_redis_counted() -> None:
    """It believes that it is subscribed; Redis handed the message to the two that had it, and to nobody else."""
    lines = journal(subscribed=[-1900])
    assert explained([300], journal=lines, receivers=2) == [("no_subscriber", "redis_node", -1)]
    assert explained([300], journal=lines, receivers=3) == [UNEXPLAINED]
    assert explained([300, 8000], REDIS, journal=lines, receivers=2, came=[-500, 9000]) == [
        ("resubscribe_gap", "redis_node", 0),
        ("resubscribe_gap", "redis_node", 0),
    ]


def test_a_publish_that_failed_while_redis_did_not_answer_its_watch_goes_back_to_its_absence() -> None:
    watch = redis_says()
    silent = replace(watch, watched=np.array([(ns(-2000), ns(299)), (ns(301), ns(END))]))
    assert causes([300], journal=journal(), failed=True, redis=watch) == ["publish_failed"]
    assert causes([300], journal=journal(), failed=True, redis=silent) == ["redis_down"]


def test_a_node_without_a_journal_is_cut_off_while_redis_is_at_fault_and_no_longer() -> None:
    dark = {"journal": None, "receivers": 2, "others_had": False}
    sent = [290 - TOOK - 0.001, 290 - TOOK, 400, 400.000001]
    assert causes(sent, REDIS, **dark) == ["unexplained", "resubscribe_gap", "resubscribe_gap", "unexplained"]
    assert causes(sent[1:2], REDIS, **dark, redis=redis_says((-1900, None))) == ["unexplained"]


def test_a_publish_that_failed_within_two_seconds_after_redis_fault_goes_back_to_it() -> None:
    assert causes([2400, 2400.001], REDIS, journal=journal(), failed=True) == ["redis_down", "publish_failed"]
