"""What fanlab's own engines cost: what may have been in a journal that cannot be read, and whom a stall cut off."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from fanlab.clock import NS_PER_MS, NS_PER_S
from fanlab.ledger.health import HealthEvent
from fanlab.ledger.journals import ABNORMAL, Ending, StripeInfo, Unread
from fanlab.ledger.own import OwnDoing, own_doing
from fanlab.ledger.windows import NEVER

S = NS_PER_S
TIMEOUTS = np.full(3, 2 * S)


def said(t_ns: float, *lags_s: float) -> HealthEvent:
    return HealthEvent(round(t_ns), 0.0, tuple(lag * 1000 for lag in lags_s))


def stripe(*clients: int, closed: bool = True, **more: object) -> StripeInfo:
    return StripeInfo(Path("clients-0.stripe"), clients=set(clients), closed=closed, **more)  # type: ignore[arg-type]


def gave_up(t_ns: float, client: int = 0, *, silent: bool = True) -> Ending:
    return Ending(round(t_ns), client, ABNORMAL, silent)


def ended_at(t_ns: int, health: Sequence[HealthEvent], timeouts_ns: np.ndarray = TIMEOUTS) -> bool:
    """Whether an end at that time is the doing of an engine that says so of its loop."""
    doing = own_doing([stripe(0, health=list(health), endings=[gave_up(t_ns)])], timeouts_ns, complete=True)
    return bool(doing.ended(np.array([0]), np.array([t_ns]))[0])


@pytest.mark.parametrize(
    ("t_ns", "own"),
    [
        (7 * S - 1, False),
        (7 * S, True),  # a second and the stall before it was spoken of
        (10 * S, True),
        (11 * S, True),  # what had to wait for the stalled loop may take a second
        (11 * S + 1, False),
    ],
)
def test_a_stall_of_which_the_first_word_tells(t_ns: int, own: bool) -> None:
    assert ended_at(t_ns, [said(10 * S, 0.5, 2, 0.1)]) is own


@pytest.mark.parametrize(("t_ns", "own"), [(9 * S - 1, False), (9 * S, True), (13 * S, True), (13 * S + 1, False)])
def test_a_stall_began_no_earlier_than_the_word_before_it(t_ns: int, own: bool) -> None:
    assert ended_at(t_ns, [said(9 * S, 0), said(12 * S, 2), said(20 * S, 0)]) is own


@pytest.mark.parametrize(("t_ns", "own"), [(10.9 * S, False), (11 * S, True)])
def test_two_words_within_a_second_share_no_stall(t_ns: float, own: bool) -> None:
    assert ended_at(round(t_ns), [said(9 * S, 0), said(11 * S, 0), said(11.5 * S, 2)]) is own


@pytest.mark.parametrize(("lags_s", "own"), [((1.999,), False), ((2.0,), True), ((), False)])
def test_a_stall_shorter_than_the_clients_patience_ends_nothing(lags_s: tuple[float, ...], own: bool) -> None:
    assert ended_at(10 * S, [said(10 * S, *lags_s)]) is own


def test_an_engine_that_says_nothing_of_its_loop_did_not_stand_still() -> None:
    assert not ended_at(10 * S, [said(10 * S)], np.array([NS_PER_MS]))


def test_only_ends_that_the_engine_brought_about_are_its_doing() -> None:
    health = [said(10 * S, 3)]
    endings = [gave_up(9 * S, 0), gave_up(9 * S, 1, silent=False), gave_up(9 * S, 3), gave_up(9 * S, -1)]
    doing = own_doing([stripe(0, 1, health=health, endings=endings)], TIMEOUTS, complete=True)
    assert doing.ends == {(0, 9 * S)}
    assert doing.ended(np.array([0, 1, 0]), np.array([9 * S, 9 * S, 9 * S + 1])).tolist() == [True, False, False]


def test_each_engine_stalls_for_itself() -> None:
    stalled, idle = [said(10 * S, 3)], [said(10 * S, 0)]
    stripes = [
        stripe(client, health=health, endings=[gave_up(10 * S, client)])
        for client, health in enumerate((stalled, stalled, idle))
    ]
    assert own_doing(stripes, TIMEOUTS, complete=True).ends == {(0, 10 * S), (1, 10 * S)}


def test_each_client_has_a_patience_of_its_own() -> None:
    endings = [gave_up(10 * S, client) for client in range(3)]
    stripes = [stripe(0, 1, 2, health=[said(10 * S, 3)], endings=endings)]
    doing = own_doing(stripes, np.array([3 * S, 4 * S, S]), complete=True)
    assert doing.ends == {(0, 10 * S), (2, 10 * S)}


def unread_at(
    doing: OwnDoing, clients: Sequence[int], spans: Sequence[tuple[int, int]], candidates: Sequence[bool] | None = None
) -> tuple[list[bool], list[bool]]:
    from_ns, to_ns = np.array(spans).T
    chosen = np.ones(len(clients), np.bool_) if candidates is None else np.array(candidates)
    found, surely = doing.unread_at(np.array(clients), from_ns, to_ns, chosen)
    return found.tolist(), surely.tolist()


def test_what_may_have_been_in_a_bad_frame_touches_its_time_and_is_of_its_stripe() -> None:
    stripes = [stripe(0, unread=[Unread(50, 70, 9)]), stripe(1, 2)]
    doing = own_doing(stripes, TIMEOUTS, complete=True)
    assert doing.stripe.tolist() == [0, 1, 1]
    spans = [(40, 49), (40, 50), (70, 80), (71, 80), (40, 80), (55, 60)]
    expected = [False, True, True, False, True, True]
    assert unread_at(doing, [0] * 6, spans) == (expected, expected)
    assert unread_at(doing, [1] * 6, spans) == ([False] * 6, [False] * 6)
    chosen = [True, False, True, True, True, True]
    assert unread_at(doing, [0] * 6, spans, chosen)[0] == [False, False, True, False, True, True]


@pytest.mark.parametrize(("held", "surely"), [(3, True), (2, True), (1, False), (None, False)])
def test_what_surely_was_in_a_bad_frame_is_no_more_than_it_held(held: int | None, surely: bool) -> None:
    doing = own_doing([stripe(0, unread=[Unread(50, 70, held)])], TIMEOUTS, complete=True)
    assert unread_at(doing, [0, 0], [(50, 60), (60, 90)]) == ([True, True], [surely, surely])


def test_each_bad_frame_of_a_stripe_counts_for_itself() -> None:
    spans = [(10, 20), (50, 60), (30, 40)]
    for held in (0, 1):
        doing = own_doing([stripe(0, unread=[Unread(10, 20, 1), Unread(50, 70, held)])], TIMEOUTS, complete=True)
        assert unread_at(doing, [0, 0, 0], spans) == ([True, True, False], [True, bool(held), False])


@pytest.mark.parametrize(
    ("closed", "complete", "clients", "expected"),
    [
        (False, True, (0,), {0: [(80, NEVER, None)]}),
        (True, True, (0,), {}),
        (False, False, (0,), {}),  # the whole run was cut short
        (False, True, (), {}),  # it had no clients to lose anything for
    ],
)
def test_an_engine_that_died_may_have_had_all_after_its_last_word(
    closed: bool, complete: bool, clients: tuple[int, ...], expected: dict[int, object]
) -> None:
    stripes = [stripe(*clients, closed=closed, heartbeat_ns=80)]
    assert own_doing(stripes, TIMEOUTS, complete=complete).unread == expected


def test_a_client_of_no_stripe_has_lost_nothing_to_one() -> None:
    doing = own_doing([stripe(0, -1, 3, unread=[Unread(0, NEVER, None)])], TIMEOUTS, complete=True)
    assert doing.stripe.tolist() == [0, -1, -1]
    assert unread_at(doing, [0, 1, 2], [(5, 6)] * 3)[0] == [True, False, False]
    assert doing.ended(np.array([0]), np.array([5])).tolist() == [False]
