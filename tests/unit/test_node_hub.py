"""The reference node's rules of subscription: the state table, move by move."""

from types import SimpleNamespace
from typing import Any

import pytest


class Table:
    """A hub on a fake connection: what it sent, what it said was missed."""

    def __init__(self, modules: SimpleNamespace, *, connected: bool = True) -> None:
        self.sent: list[tuple[str, str]] = []
        self.gaps: list[tuple[str, int, int]] = []
        self.hub = modules.hub.Hub(
            lambda verb, name: self.sent.append((verb, name)),
            lambda gap: self.gaps.append((gap.channel, gap.from_ns, gap.to_ns)),
        )
        if connected:
            self.hub.connected()

    def confirm(self, verb: str, name: str, *, good: int = 0, now: int = 1) -> Any:
        return self.hub.confirmed(verb, name, good, now)

    def members(self, name: str) -> set[str]:
        channel = self.hub.get(name)
        return set() if channel is None else set(channel.members)


@pytest.fixture
def table(node_modules: SimpleNamespace) -> Table:
    return Table(node_modules)


def test_the_first_client_subscribes_the_node_and_all_wait_for_the_one_confirmation(table: Table) -> None:
    assert [table.hub.subscribe(client, "news") for client in "abc"] == [False, False, False]
    assert table.sent == [("SUBSCRIBE", "news")]
    assert table.members("news") == set()
    assert set(table.confirm("SUBSCRIBE", "news").tell) == {"a", "b", "c"}
    assert table.members("news") == {"a", "b", "c"}
    assert table.hub.subscribe("d", "news")
    assert table.sent == [("SUBSCRIBE", "news")]


def test_the_last_client_unsubscribes_the_node(table: Table) -> None:
    for client in "ab":
        table.hub.subscribe(client, "news")
    table.confirm("SUBSCRIBE", "news")
    table.hub.unsubscribe("a", "news", 2)
    assert table.sent[1:] == []
    table.hub.drop("b", 2)
    assert table.sent[1:] == [("UNSUBSCRIBE", "news")]
    table.confirm("UNSUBSCRIBE", "news")
    assert table.hub.get("news") is None


def test_who_comes_while_the_channel_is_leaving_waits_for_the_second_subscribe(table: Table) -> None:
    table.hub.subscribe("a", "news")
    table.confirm("SUBSCRIBE", "news")
    table.hub.drop("a", 1)
    table.hub.subscribe("b", "news")
    assert table.sent == [("SUBSCRIBE", "news"), ("UNSUBSCRIBE", "news"), ("SUBSCRIBE", "news")]
    assert table.confirm("UNSUBSCRIBE", "news").tell == ()
    assert table.members("news") == set()
    assert table.confirm("SUBSCRIBE", "news").tell == ("b",)
    assert table.members("news") == {"b"}


def test_who_comes_while_nobody_waits_for_the_confirmation_any_more_gets_that_one(table: Table) -> None:
    table.hub.subscribe("a", "news")
    table.hub.drop("a", 1)
    table.hub.subscribe("b", "news")
    assert table.sent == [("SUBSCRIBE", "news")]
    assert table.confirm("SUBSCRIBE", "news").tell == ("b",)


def test_a_confirmation_that_nobody_waits_for_any_more_is_followed_by_leaving(table: Table) -> None:
    table.hub.subscribe("a", "news")
    table.hub.drop("a", 1)
    assert table.confirm("SUBSCRIBE", "news").tell == ()
    assert table.sent == [("SUBSCRIBE", "news"), ("UNSUBSCRIBE", "news")]
    table.confirm("UNSUBSCRIBE", "news")
    assert table.hub.get("news") is None


def test_no_command_is_sent_twice_for_clients_that_come_and_go_while_leaving(table: Table) -> None:
    table.hub.subscribe("a", "news")
    table.confirm("SUBSCRIBE", "news")
    table.hub.drop("a", 1)
    for client in "bcd":
        table.hub.subscribe(client, "news")
    table.hub.drop("b", 1)
    assert table.sent == [("SUBSCRIBE", "news"), ("UNSUBSCRIBE", "news"), ("SUBSCRIBE", "news")]


def test_a_lost_connection_makes_a_gap_from_what_is_known_to_have_come(table: Table) -> None:
    table.hub.subscribe("a", "news")
    table.confirm("SUBSCRIBE", "news", now=100)
    table.hub.disconnected(150, 200)
    assert table.members("news") == {"a"}
    assert not table.hub.subscribe("a", "news")  # asked again: told again, later
    assert not table.hub.subscribe("b", "news")
    table.hub.connected()
    assert table.sent == [("SUBSCRIBE", "news")] * 2
    confirmed = table.confirm("SUBSCRIBE", "news", now=300)
    assert set(confirmed.tell) == {"a", "b"}
    assert table.gaps == [("news", 150, 300)]
    assert table.members("news") == {"a", "b"}


def test_a_gap_never_begins_before_the_channel_held(table: Table) -> None:
    table.hub.subscribe("a", "news")
    table.confirm("SUBSCRIBE", "news", now=100)
    table.hub.disconnected(50, 120)
    table.hub.connected()
    table.confirm("SUBSCRIBE", "news", now=130)
    assert table.gaps == [("news", 100, 130)]


def test_a_connection_lost_again_before_the_confirmation_leaves_one_gap(table: Table) -> None:
    table.hub.subscribe("a", "news")
    table.confirm("SUBSCRIBE", "news", now=100)
    table.hub.disconnected(150, 200)
    table.hub.connected()
    table.hub.disconnected(210, 220)
    table.hub.connected()
    table.confirm("SUBSCRIBE", "news", now=300)
    assert table.gaps == [("news", 150, 300)]


def test_a_channel_that_was_never_confirmed_has_no_gap(table: Table) -> None:
    table.hub.subscribe("a", "news")
    table.hub.disconnected(50, 60)
    table.hub.connected()
    assert table.confirm("SUBSCRIBE", "news", now=100).tell == ("a",)
    assert table.gaps == []


def test_a_client_that_leaves_during_an_outage_closes_the_gap(table: Table) -> None:
    table.hub.subscribe("a", "news")
    table.confirm("SUBSCRIBE", "news", now=100)
    table.hub.disconnected(150, 200)
    table.hub.drop("a", 250)
    assert table.gaps == [("news", 150, 250)]
    assert table.hub.get("news") is None
    table.sent.clear()
    table.hub.connected()
    assert table.sent == []


def test_the_end_closes_open_gaps(table: Table) -> None:
    table.hub.subscribe("a", "news")
    table.confirm("SUBSCRIBE", "news", now=100)
    table.hub.disconnected(150, 200)
    table.hub.close(400)
    assert table.gaps == [("news", 150, 400)]


def test_an_unasked_confirmation_is_a_silent_resubscribe_and_so_a_gap(table: Table) -> None:
    table.hub.subscribe("a", "news")
    table.confirm("SUBSCRIBE", "news", now=100)
    confirmed = table.confirm("SUBSCRIBE", "news", good=150, now=200)
    assert not confirmed.asked
    assert table.gaps == [("news", 150, 200)]


def test_an_unasked_end_of_a_subscription_opens_a_gap(table: Table) -> None:
    table.hub.subscribe("a", "news")
    table.confirm("SUBSCRIBE", "news", now=100)
    assert not table.confirm("UNSUBSCRIBE", "news", good=150, now=200).asked
    table.hub.disconnected(180, 210)
    table.hub.connected()
    table.confirm("SUBSCRIBE", "news", now=300)
    assert table.gaps == [("news", 150, 300)]


def test_a_confirmation_of_an_unknown_channel_is_unasked_and_harmless(table: Table) -> None:
    assert not table.confirm("SUBSCRIBE", "elsewhere").asked
    assert table.hub.get("elsewhere") is None


def test_a_refusal_tells_the_clients_and_forgets_them(table: Table) -> None:
    table.hub.subscribe("a", "secret")
    table.hub.subscribe("a", "news")
    refused = table.hub.refused(1)
    assert (refused.channel, refused.tell) == ("secret", ("a",))
    assert table.hub.get("secret") is None
    assert table.confirm("SUBSCRIBE", "news").tell == ("a",)
    assert table.hub.count("a") == 1
    assert table.hub.refused(1) is None


def test_a_pinned_channel_stays_without_clients_and_counts_for_readiness(node_modules: SimpleNamespace) -> None:
    table = Table(node_modules, connected=False)
    table.hub.pin("user:updated")
    assert not table.hub.pinned_live
    table.hub.connected()
    table.confirm("SUBSCRIBE", "user:updated")
    assert table.hub.pinned_live
    table.hub.subscribe("a", "user:updated")
    table.hub.drop("a", 1)
    assert table.sent == [("SUBSCRIBE", "user:updated")]


def test_counts_of_a_clients_channels(table: Table) -> None:
    table.hub.subscribe("a", "news")
    assert (table.hub.count("a"), table.hub.new_names("a", ["news", "jobs", "jobs"])) == (1, 1)
    table.hub.unsubscribe("a", "news", 1)
    table.hub.unsubscribe("a", "never", 1)
    assert table.hub.count("a") == 0
