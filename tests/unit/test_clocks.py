"""The offset between two clocks: the truth is always within the bound, and contradictions are found."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanlab.clock import NS_PER_S
from fanlab.ledger.clocks import Exchange, Span, best, clock_account, drift_ppm, hull
from fanlab.load.clocksync import ROUNDS, ClockExchanges, ExchangeLine
from fanlab.load.wire import Message

WAYS = st.integers(0, 5 * NS_PER_S)


def exchange(t0: int, offset: int, there: int, stay: int, back: int, *, offset_later: int | None = None) -> Exchange:
    """What both ends see if their clocks differ by `offset` on arrival and by `offset_later` on the answer's start."""
    later = offset if offset_later is None else offset_later
    arrives = t0 + there
    return Exchange(t0, arrives + offset, arrives + stay + later, arrives + stay + back)


@given(offset=st.integers(-(10**15), 10**15), there=WAYS, stay=WAYS, back=WAYS)
def test_the_true_offset_is_within_the_bound_however_unequal_the_ways(
    offset: int, there: int, stay: int, back: int
) -> None:
    one = exchange(1000, offset, there, stay, back)
    assert one.round_trip_ns == there + back
    assert abs(one.span.offset_ns - offset) <= one.span.bound_ns == (there + back) / 2
    assert one.span.offset_ns == ((one.t1 - one.t0) + (one.t2 - one.t3)) / 2, "Cristian's estimate"


def test_the_bound_is_sharp() -> None:
    one = exchange(0, 500, 80, 3, 0)
    assert one.span.offset_ns - 500 == one.span.bound_ns == 40


@given(st.lists(st.tuples(WAYS, WAYS), min_size=1, max_size=8), st.integers(-(10**12), 10**12))
def test_of_several_the_shortest_round_trip_is_kept(ways: list[tuple[int, int]], offset: int) -> None:
    exchanges = [exchange(k, offset, there, 5, back) for k, (there, back) in enumerate(ways)]
    kept = best(exchanges)
    assert kept.round_trip_ns == min(there + back for there, back in ways)
    assert abs(kept.span.offset_ns - offset) <= kept.span.bound_ns


@given(
    offset=st.integers(-(10**12), 10**12),
    drift_ns_per_s=st.integers(-200_000, 200_000),
    ways=st.lists(st.tuples(st.integers(0, 10**7), st.integers(0, 10**7)), min_size=3, max_size=3),
    length_s=st.integers(1, 3600),
    share=st.floats(0, 1),
)
def test_with_a_steady_drift_the_offset_of_any_instant_of_the_run_is_within_its_bound(
    offset: int, drift_ns_per_s: int, ways: list[tuple[int, int]], length_s: int, share: float
) -> None:
    def true_ns(t_ns: int) -> int:
        return offset + t_ns * drift_ns_per_s // NS_PER_S

    moments = [0, length_s * NS_PER_S // 2, length_s * NS_PER_S]
    exchanges = [
        exchange(t0, true_ns(t0 + there), there, 1000, back, offset_later=true_ns(t0 + there + 1000))
        for t0, (there, back) in zip(moments, ways, strict=True)
    ]
    whole = hull(one.span for one in exchanges)
    slack = 2 + abs(drift_ns_per_s) * 10_001_000 // NS_PER_S  # it drifts during the exchange, too
    assert abs(true_ns(round(share * moments[-1])) - whole.offset_ns) <= whole.bound_ns + slack
    measured = drift_ppm(exchanges)
    assert measured is not None
    widest = max(there + back for there, back in ways) / 2
    assert abs(measured - drift_ns_per_s / 1000) <= 1e6 * 2 * (widest + slack) / moments[-1]


def test_drift_needs_two_moments() -> None:
    assert drift_ppm([]) is None
    assert drift_ppm([exchange(5, 0, 1, 1, 1)]) is None
    assert drift_ppm([exchange(5, 0, 1, 1, 1)] * 2) is None


def test_drift_is_from_the_first_to_the_last_moment() -> None:
    first, second, last = exchange(2 * NS_PER_S, 500, 4, 1, 4), exchange(2 * NS_PER_S, 900, 4, 1, 4), 4 * NS_PER_S
    assert drift_ppm([first, second, exchange(last, 700, 4, 1, 4)]) == pytest.approx(0.1, rel=1e-9), "200 ns in 2 s"
    assert drift_ppm([first, second, exchange(last, 500 + 2_000_000, 4, 1, 4)]) == pytest.approx(1000, rel=1e-9)
    assert drift_ppm([first, exchange(last, 700, 4, 1, 4), second]) is None, "no time lies between the two"


def header(role: str, worker: int = 1, boot: str | None = "a") -> dict[str, Any]:
    return {"role": role, "worker": worker, "boot_id": boot}


def line(unit: str, one: Exchange, moment: str = "before") -> dict[str, Any]:
    return {"moment": moment, "unit": unit, "rounds": 8, **one._asdict()}


CLIENTS, PUBLISHERS = "load-1/clients", "load-1/publishers"
HEADERS = [header("clients"), header("publishers"), {"role": "witness", "boot_id": "a"}]


def test_on_one_boot_the_offset_is_nothing_and_an_exchange_only_confirms_it() -> None:
    clock = {"boot_id": "a", "exchanges": [line(CLIENTS, exchange(0, 0, 30, 5, 900))]}
    account = clock_account(clock, HEADERS)
    assert (account.basis, account.span, account.exchanges) == ("one-boot", Span(0, 0), 1)
    assert account.contradictions == ()
    assert clock_account({"boot_id": "a"}, HEADERS).basis == "one-boot", "nothing was exchanged: an older run"


def test_on_one_boot_another_offset_is_a_lie() -> None:
    clock = {"boot_id": "a", "exchanges": [line(CLIENTS, exchange(2 * NS_PER_S, 5 * NS_PER_S, NS_PER_S, 5, NS_PER_S))]}
    assert clock_account(clock, HEADERS).contradictions == (
        "the clock of load-1/clients differs by 5000.000 ± 1000.000 ms, at 2.000 s, though both run on one boot",
    )


def test_on_one_boot_another_offset_is_a_lie_even_if_the_way_took_no_time() -> None:
    clock = {"boot_id": "a", "exchanges": [line(CLIENTS, exchange(2_000_000, 1, 0, 5, 0))]}
    assert clock_account(clock, HEADERS).contradictions == (
        "the clock of load-1/clients differs by 0.000 ± 0.000 ms, at 0.002 s, though both run on one boot",
    )


@pytest.mark.parametrize("offset", [-30_000, 30_000])
def test_on_one_boot_an_offset_of_as_much_as_a_way_took_is_none(offset: int) -> None:
    clock = {"boot_id": "a", "exchanges": [line(CLIENTS, exchange(0, offset, 30_000, 5, 30_000))]}
    assert clock_account(clock, HEADERS).contradictions == ()


def test_an_answer_before_the_question_is_a_lie() -> None:
    clock = {"boot_id": "a", "exchanges": [line(CLIENTS, Exchange(NS_PER_S, NS_PER_S, 5 * NS_PER_S, 2 * NS_PER_S))]}
    assert clock_account(clock, HEADERS).contradictions == (
        "load-1/clients answered 3000.000 ms before it was asked, at 1.000 s",
    )


def test_on_two_boots_the_offset_between_clients_and_publishers_is_estimated() -> None:
    headers = [header("clients", boot="b"), header("publishers", boot="a")]
    exchanges = [
        line(CLIENTS, exchange(0, 7000, 100, 5, 300)),
        line(CLIENTS, exchange(NS_PER_S, 7100, 0, 5, 200), "after"),
        line(PUBLISHERS, exchange(0, 0, 50, 5, 50)),
    ]
    account = clock_account({"boot_id": "a", "exchanges": exchanges}, headers)
    assert account.basis == "exchange"
    assert account.span == Span(6700, 7100), "publishers are of the harness' boot, and have its clock"
    assert (account.clients, account.publishers) == (Span(6700, 7100), Span(0, 0))
    assert account.apart_ns == 7100
    away = clock_account({"boot_id": "c", "exchanges": exchanges}, headers)
    assert away.span == Span(6700 - 50, 7100 + 50)
    assert (away.clients, away.publishers) == (Span(6700, 7100), Span(-50, 50))
    assert away.apart_ns == 7100 + 50
    assert account.drift_ppm == pytest.approx(0.1)  # from 6900 to 7000 ns in a second, as far as estimates tell
    assert account.exchanges == 3


@pytest.mark.parametrize(
    "exchanges",
    [
        [],
        [line(PUBLISHERS, exchange(0, 0, 50, 5, 50))],  # none with the clients
        [line(CLIENTS, Exchange(10, 0, 500, 20)), line(PUBLISHERS, exchange(0, 0, 1, 1, 1))],
    ],
)
def test_what_was_not_exchanged_with_all_or_contradicts_itself_is_unknown(exchanges: list[dict[str, Any]]) -> None:
    headers = [header("clients", boot="b"), header("publishers", boot="a")]
    account = clock_account({"boot_id": "a", "exchanges": exchanges}, headers)
    assert (account.basis, account.span) == ("unknown", None)


def test_of_engines_on_several_hosts_the_worst_counts() -> None:
    headers = [
        header("clients"),
        header("clients", 2, boot="b"),
        header("publishers"),
        header("publishers", 2, boot="b"),
    ]
    exchanges = [
        line("load-2/clients", exchange(0, 40, 100, 5, 300)),
        line("load-2/publishers", exchange(0, -900, 20, 5, 30)),
        line(CLIENTS, exchange(0, 0, 5000, 5, 5000)),  # a slow answer, which says nothing on one's own boot
    ]
    account = clock_account({"boot_id": "a", "exchanges": exchanges}, headers)
    assert (account.clients, account.publishers) == (Span(-260, 140), Span(-930, 0))
    assert account.span == Span(-260 - 0, 140 + 930)
    assert account.apart_ns == 260 + 930


@given(
    clients=st.integers(-(10**9), 10**9),
    publishers=st.integers(-(10**9), 10**9),
    ways=st.lists(st.integers(0, 10**8), min_size=4, max_size=4),
)
def test_no_two_clocks_are_farther_apart_than_said(clients: int, publishers: int, ways: list[int]) -> None:
    headers = [header("clients", boot="b"), header("publishers", boot="c")]
    exchanges = [
        line(CLIENTS, exchange(7, clients, ways[0], 3, ways[1])),
        line(PUBLISHERS, exchange(9, publishers, ways[2], 3, ways[3])),
    ]
    account = clock_account({"boot_id": "a", "exchanges": exchanges}, headers)
    assert account.span is not None
    assert account.span.low_ns <= clients - publishers <= account.span.high_ns
    for other in (0, clients):
        assert abs(publishers - other) <= account.apart_ns


def test_on_one_clock_nothing_is_apart() -> None:
    assert clock_account({"boot_id": "a", "exchanges": [line(CLIENTS, exchange(0, 0, 9, 9, 9))]}, HEADERS).apart_ns == 0


def test_an_offset_turned_round() -> None:
    assert Span(-3, 8).turned == Span(-8, 3)
    assert [Span(-3, 8).farthest_ns, Span(-9, 8).farthest_ns, Span(2, 5).farthest_ns] == [8, 9, 5]


@pytest.mark.parametrize(
    "headers",
    [
        [header("clients"), header("clients", 2), header("publishers", boot="b")],
        [header("clients"), header("publishers", 2), header("publishers", boot="b")],
        [header("clients"), header("readers", boot="b")],
        [header("publishers"), header("readers", boot="b")],
    ],
)
def test_each_engine_must_have_exchanged_its_time(headers: list[dict[str, Any]]) -> None:
    exchanges = [line(unit, exchange(0, 0, 5, 5, 5)) for unit in (CLIENTS, PUBLISHERS)]
    account = clock_account({"exchanges": exchanges}, headers)
    assert (account.basis, account.span, account.exchanges) == ("unknown", None, 2)


def test_systems_without_boot_ids_need_exchanges() -> None:
    headers = [header("clients", boot=None), header("publishers", boot=None)]
    assert clock_account({}, headers).basis == "unknown"
    exchanges = [line(CLIENTS, exchange(0, 0, 5, 5, 5)), line(PUBLISHERS, exchange(0, 0, 5, 5, 5))]
    assert clock_account({"exchanges": exchanges}, headers).basis == "exchange"


class Answering:
    """Engines that answer at once, or not at all."""

    def __init__(self, silent: tuple[str, ...] = ()) -> None:
        self.exchanges = ClockExchanges(self.tell)
        self.silent = silent
        self.asked: list[tuple[int, str]] = []

    def tell(self, worker: int, message: Message) -> None:
        self.asked.append((worker, message["role"]))
        if message["role"] not in self.silent:
            answer = {"id": message["id"], "t1": 1, "t2": 2}
            asyncio.get_running_loop().call_soon(self.exchanges.answered, answer, 10**18 + len(self.asked))


async def test_the_best_of_each_moment_and_engine_is_kept() -> None:
    engines = Answering()
    await engines.exchanges.exchange("before", {(1, "publishers"), (1, "clients"), (2, "clients"), (1, "readers")})
    await engines.exchanges.exchange("after", {(1, "clients")})
    kept: list[ExchangeLine] = engines.exchanges.kept
    assert [(one["moment"], one["unit"], one["rounds"]) for one in kept] == [
        ("before", "load-1/clients", ROUNDS),
        ("before", "load-1/publishers", ROUNDS),
        ("before", "load-2/clients", ROUNDS),
        ("after", "load-1/clients", ROUNDS),
    ]
    assert len(engines.asked) == 4 * ROUNDS


async def test_who_is_silent_is_asked_once_and_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fanlab.load.clocksync.ANSWER_S", 0.01)
    engines = Answering(silent=("publishers",))
    await engines.exchanges.exchange("during", {(1, "publishers"), (1, "clients")})
    assert [one["unit"] for one in engines.exchanges.kept] == ["load-1/clients"]
    assert engines.asked.count((1, "publishers")) == 1
    engines.exchanges.answered({"id": 1, "t1": 0, "t2": 0}, 5)  # too late: nobody waits any more
