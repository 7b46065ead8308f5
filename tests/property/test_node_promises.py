"""The reference node's hub against a model of Redis: any order of clients, replies and lost connections.

The model holds commands and replies in two queues, as a connection does, and loses both when it breaks. Checked is what
the node promises: who was told `subscribed` gets every message published from then on, but for journaled gaps; and
when nothing is in flight, Redis holds exactly the channels that somebody wants.
"""

from collections import deque
from types import SimpleNamespace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from support.examples import examples

CLIENTS = ("a", "b")
CHANNELS = ("news", "jobs")
PING = ("PING", "")

moves = st.one_of(
    st.tuples(st.just("subscribe"), st.sampled_from(CLIENTS), st.sampled_from(CHANNELS)),
    st.tuples(st.just("unsubscribe"), st.sampled_from(CLIENTS), st.sampled_from(CHANNELS)),
    st.tuples(st.just("drop"), st.sampled_from(CLIENTS), st.just("")),
    st.tuples(st.just("publish"), st.just(""), st.sampled_from(CHANNELS)),
    st.tuples(st.sampled_from(("ping", "break", "connect")), st.just(""), st.just("")),
    st.tuples(st.sampled_from(("redis", "reply")), st.just(""), st.just("")),
    st.tuples(st.sampled_from(("redis", "reply", "settle")), st.just(""), st.just("")),
)


class World:
    """A hub, the connection's two queues, Redis' own view, and what each client is owed."""

    def __init__(self, modules: SimpleNamespace) -> None:
        self.now = 0
        self.commands: deque[tuple[str, str]] = deque()
        self.replies: deque[tuple[str, str, int]] = deque()
        self.redis: set[str] = set()
        self.up = False
        self.known_good = 0
        self.pings: deque[int] = deque()
        self.told: set[tuple[str, str]] = set()
        self.asked: set[tuple[str, str]] = set()
        self.owed: set[tuple[str, str, int]] = set()
        self.missed: list[tuple[str, int]] = []
        self.gaps: list[Any] = []
        self.hub = modules.hub.Hub(lambda verb, name: self.commands.append((verb, name)), self.gaps.append)

    def step(self, move: str, client: str, channel: str) -> None:
        self.now += 1
        getattr(self, f"do_{move}")(client, channel)

    def do_subscribe(self, client: str, channel: str) -> None:
        self.asked.add((client, channel))
        if self.hub.subscribe(client, channel):
            assert self.up
            assert channel in self.redis
            self.told.add((client, channel))

    def do_unsubscribe(self, client: str, channel: str) -> None:
        self.hub.unsubscribe(client, channel, self.now)
        self.forget(client, channel)

    def do_drop(self, client: str, _: str) -> None:
        self.hub.drop(client, self.now)
        for channel in CHANNELS:
            self.forget(client, channel)

    def forget(self, client: str, channel: str) -> None:
        self.told.discard((client, channel))
        self.asked.discard((client, channel))
        self.owed = {(c, ch, at) for c, ch, at in self.owed if (c, ch) != (client, channel)}

    def do_publish(self, _: str, channel: str) -> None:
        self.owed |= {(client, channel, self.now) for client, ch in self.told if ch == channel}
        if self.up and channel in self.redis:
            self.replies.append(("message", channel, self.now))

    def do_ping(self, _: str, __: str) -> None:
        if self.up:
            self.pings.append(self.now)
            self.commands.append(PING)

    def do_redis(self, _: str, __: str) -> None:
        if not (self.up and self.commands):
            return
        verb, name = self.commands.popleft()
        if verb == "SUBSCRIBE":
            self.redis.add(name)
        elif verb == "UNSUBSCRIBE":
            self.redis.discard(name)
        self.replies.append((verb, name, self.now))

    def do_reply(self, _: str, __: str) -> None:
        if not (self.up and self.replies):
            return
        kind, name, at = self.replies.popleft()
        if kind == "message":
            channel = self.hub.get(name)
            self.owed -= {(client, name, at) for client in (channel.members if channel else ())}
        elif kind == "PING":
            self.known_good = self.pings.popleft()
        else:
            confirmed = self.hub.confirmed(kind, name, self.known_good, self.now)
            assert confirmed.asked
            assert len(set(confirmed.tell)) == len(confirmed.tell)
            for client in confirmed.tell:
                assert (client, name) in self.asked
                assert name in self.redis
                self.told.add((client, name))

    def do_break(self, _: str, __: str) -> None:
        if self.up:
            self.up = False
            self.redis.clear()
            self.replies.clear()
            self.commands.clear()
            self.pings.clear()
            self.hub.disconnected(self.known_good, self.now)

    def do_connect(self, _: str, __: str) -> None:
        if not self.up:
            self.up = True
            self.commands.clear()
            self.known_good = self.now
            self.hub.connected()

    def do_settle(self, _: str = "", __: str = "") -> None:
        """Let everything in flight arrive."""
        self.step("connect", "", "")
        for _ in range(1000):
            if not (self.commands or self.replies):
                return
            self.step("redis", "", "")
            self.step("reply", "", "")
        raise AssertionError("the node and Redis never come to rest")


@settings(max_examples=examples(500), deadline=None)
@given(st.lists(moves, min_size=10, max_size=80))
def test_no_promise_is_broken_but_for_journaled_gaps(
    node_modules: SimpleNamespace, steps: list[tuple[str, str, str]]
) -> None:
    world = World(node_modules)
    world.step("connect", "", "")
    for step in steps:
        world.step(*step)
    for channel in CHANNELS:  # every history ends with an outage that costs something
        world.step("publish", "", channel)
    world.step("break", "", "")
    world.do_settle()
    unexplained = {
        (client, channel, at)
        for client, channel, at in world.owed
        if not any(gap.channel == channel and gap.from_ns <= at <= gap.to_ns for gap in world.gaps)
    }
    assert unexplained == set()
    assert world.redis == {channel for _, channel in world.asked}
    assert world.told == world.asked
    assert {channel.name for channel in world.hub} == world.redis
    for channel in world.hub:
        assert set(channel.members) == {client for client, name in world.asked if name == channel.name}
        assert channel.live
