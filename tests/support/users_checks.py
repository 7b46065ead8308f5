"""Locust's users as Locust's own runners treat them: without a greenlet, and counted.

A program of its own, which tests/unit/test_users.py runs: importing Locust patches the whole process by gevent.
"""

import io
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gevent
from gevent.pool import Group
from locust.env import Environment

from fanlab.load.counting import CountedGroup
from fanlab.load.users import Ordinals, Place, client_classes, equip
from support.raw_server import config_for


class Load:
    """A local runner with two classes of users, their orders, and those who wait for a number."""

    def __init__(self, stop_timeout: float | None = None) -> None:
        config = config_for(1, Path(), clients=100)
        (group,) = config.clients
        config = replace(config, clients=(replace(group, name="a"), replace(group, name="b", first_client=100)))
        self.orders: list[dict[str, Any]] = []
        self.waiting: list[Callable[[int], None]] = []
        self.classes = client_classes(config)
        equip(self.classes, lambda _, order: self.orders.append(order), lambda _, given: self.waiting.append(given))
        self.a, self.b = (cls.__name__ for cls in self.classes)
        self.environment = Environment(user_classes=self.classes, stop_timeout=stop_timeout)
        self.runner = self.environment.create_local_runner()

    def give(self) -> None:
        for number, given in enumerate(self.waiting):
            given(number)
        self.waiting.clear()


def a_user_begins_with_its_number_and_ends_when_it_is_stopped() -> None:
    load = Load()
    users = load.runner.spawn_users({load.b: 2})
    assert not load.orders
    load.give()
    assert load.orders == [{"op": "connect", "client": 100}, {"op": "connect", "client": 101}]
    assert load.runner.user_count == 2
    assert load.runner.user_classes_count == {load.a: 0, load.b: 2}
    load.orders.clear()
    load.runner.stop_users({load.b: 2})
    assert sorted(order["client"] for order in load.orders) == [100, 101]
    assert {order["op"] for order in load.orders} == {"leave"}
    assert load.runner.user_count == 0
    assert users[0].stop() is True
    assert len(load.orders) == 2, "it is not stopped twice"


def one_that_is_stopped_before_it_has_its_number_never_begins() -> None:
    load = Load()
    load.runner.spawn_users({load.a: 1})
    load.runner.stop_users({load.a: 1})
    load.give()
    assert not load.orders


def a_stop_timeout_is_not_waited_for() -> None:
    load = Load(stop_timeout=3600)  # the test's own time limit would tell
    load.runner.spawn_users({load.a: 3})
    load.give()
    load.runner.stop_users({load.a: 2})
    assert load.runner.user_classes_count == {load.a: 1, load.b: 0}


def all_who_wait_for_the_users_are_told() -> None:
    load = Load()
    (user,) = load.runner.spawn_users({load.a: 1})
    others = Group()
    others.add(user.greenlet)
    load.runner.stop_users({load.a: 1})
    assert others.join(timeout=60)
    assert load.runner.user_greenlets.join(timeout=60)


def one_whose_engine_fails_harms_no_other_and_is_not_waited_for() -> None:
    load, numbers = Load(), []

    def ask(name: str, count: int) -> None:
        numbers.append((name, count))

    def fails(_: str, order: dict[str, Any]) -> None:
        if order["client"] == 0:
            raise OSError("planted")
        load.orders.append(order)

    ordinals = Ordinals(ask)
    equip(load.classes, fails, ordinals.take)
    load.runner.spawn_users({load.a: 3})
    gevent.sleep(0)
    assert numbers == [(load.a, 3)]
    ordinals.answered(load.a, 0, 3)
    assert [order["client"] for order in load.orders] == [1, 2]
    load.runner.stop_users({load.a: 3})
    assert load.runner.user_count == 0


def members_of_a_group_are_counted_by_class() -> None:
    load = Load()
    group = load.runner.user_greenlets = CountedGroup()
    load.runner.spawn_users({load.a: 3, load.b: 1})
    assert group.by_class == {load.a: 3, load.b: 1}
    load.runner.stop_users({load.a: 2})
    assert {name: count for name, count in group.by_class.items() if count} == {load.a: 1, load.b: 1}
    (place, *_) = [place for place in group if isinstance(place, Place)]
    for _ in range(2):
        group.discard(place)
    assert sum(group.by_class.values()) == len(group) == 1, "nobody goes twice"


def locust_finds_no_fault_with_them() -> None:
    load, said = Load(), io.StringIO()
    handler = logging.StreamHandler(said)
    logging.getLogger().addHandler(handler)
    load.environment._filter_tasks_by_tags()
    assert said.getvalue() == "", "as at each start of a test"


if __name__ == "__main__":
    a_user_begins_with_its_number_and_ends_when_it_is_stopped()
    one_that_is_stopped_before_it_has_its_number_never_begins()
    a_stop_timeout_is_not_waited_for()
    all_who_wait_for_the_users_are_told()
    one_whose_engine_fails_harms_no_other_and_is_not_waited_for()
    members_of_a_group_are_counted_by_class()
    locust_finds_no_fault_with_them()
