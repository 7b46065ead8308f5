"""Locust's users: each client and each publisher is one, but all that it does is give its engine an order.

Imported by the Locust master and worker only, as everything that imports Locust or gevent.
"""

import logging
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any

import gevent
from gevent.event import Event
from gevent.pool import Group
from locust import User, task
from locust.dispatch import UsersDispatcher
from locust.env import Environment

from fanlab.load.config import LoadConfig

ORDINALS = "fanlab-ordinals"  # worker asks the master for numbers, and gets them
ORDER = "fanlab-order"  # master to workers: what the parent said
TOLD = "fanlab-told"  # worker to master: what an engine said

_DISPATCHES_PER_S = 10
_log = logging.getLogger(__name__)

Given = Callable[[int], None]  # is told a number


class SmoothDispatcher(UsersDispatcher):
    """Locust's own starts a whole second's users at once; this one, a tenth of them ten times a second."""

    def new_dispatch(self, target_user_count: int, spawn_rate: float, user_classes: Any = None) -> None:
        """As Locust's, with smaller steps."""
        super().new_dispatch(target_user_count, spawn_rate, user_classes)
        self._user_count_per_dispatch_iteration = max(1, round(spawn_rate / _DISPATCHES_PER_S))
        self._wait_between_dispatch = self._user_count_per_dispatch_iteration / spawn_rate


class Ordinals:
    """Hands each user of a class its number, 0 … count - 1 over all workers, each once.

    The master counts, so numbers are dense and unique however users are spread. A worker asks for all users that wait
    at that moment in one message.
    """

    def __init__(self, ask: Callable[[str, int], None]) -> None:
        """`ask(class_name, n)` sends the request; the answer comes to `answered`."""
        self._ask = ask
        self._waiting: dict[str, list[Given]] = {}
        self._asked: dict[str, deque[Given]] = {}
        self._wake = Event()
        gevent.spawn(self._run)

    def take(self, class_name: str, given: Given) -> None:
        """Call back with the next number when the master has answered."""
        self._waiting.setdefault(class_name, []).append(given)
        self._wake.set()

    def answered(self, class_name: str, first: int, count: int) -> None:
        """The master gave `count` numbers from `first` on."""
        asked = self._asked[class_name]
        for number in range(first, first + count):
            given = asked.popleft()
            try:
                given(number)
            except OSError:  # its engine could not be started: the others have numbers, too
                _log.exception("%s %d cannot begin", class_name, number)

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            waiting, self._waiting = self._waiting, {}
            for class_name, users in waiting.items():
                self._asked.setdefault(class_name, deque()).extend(users)
                self._ask(class_name, len(users))


def hand_out_ordinals(master: Any) -> None:
    """Let Locust's master runner answer its workers' Ordinals."""
    given: Counter[str] = Counter()

    def asked(environment: Environment, msg: Any) -> None:  # noqa: ARG001 - Locust calls by name
        name, count = msg.data["class"], msg.data["count"]
        answer = {"class": name, "first": given[name], "count": count}
        given[name] += count
        master.send_message(ORDINALS, answer, client_id=msg.node_id)

    master.register_message(ORDINALS, asked)


class Place:
    """What stands in Locust's group of users for one that needs no greenlet, which would only sleep, and be heavy.

    It has what Locust's runner and gevent's groups ask a greenlet for.
    """

    __slots__ = ("_links", "args")
    name = "user"

    def __init__(self, user: User) -> None:
        self.args = (user,)  # where the runner finds a greenlet's user
        self._links: tuple[Callable[[Any], None], ...] = ()

    def rawlink(self, callback: Callable[[Any], None]) -> None:
        """Call back when the user has stopped."""
        self._links += (callback,)

    def leave(self) -> None:
        """The user has stopped: no group has it any more."""
        links, self._links = self._links, ()
        for callback in links:
            callback(self)


class EngineUser(User):
    """A client or a publisher. Subclasses say how many there are and what to tell which engine."""

    abstract = True
    first = 0  # the number, in the plan, of this class's first user
    role = ""
    begin_op = ""
    end_op = ""
    key = ""
    order: Callable[[str, dict[str, Any]], None] | None = None  # role, message: set in workers
    ordinal: Callable[[str, Given], None] | None = None  # class name, whom to tell the next number of that class
    number: int | None = None
    stopped = False

    def start(self, group: Group) -> Place:
        """Begin: connect, or take part in publishing, as soon as it has its number."""
        cls = type(self)
        if cls.ordinal is None or cls.order is None:
            raise RuntimeError("this user runs in a fanlab worker only")
        self._group = group
        self._greenlet = place = Place(self)
        group.add(place)
        cls.ordinal(cls.__name__, self._begin)
        return place

    def _begin(self, ordinal: int) -> None:
        cls = type(self)
        if not self.stopped and cls.order is not None:
            self.number = cls.first + ordinal
            cls.order(cls.role, {"op": cls.begin_op, cls.key: self.number})

    def stop(self, force: bool = False) -> bool:  # noqa: ARG002, FBT001, FBT002 - Locust's own: no task is under way
        """End of its own will."""
        if not self.stopped:
            self.stopped = True
            cls = type(self)
            try:
                if self.number is not None and cls.order is not None:
                    cls.order(cls.role, {"op": cls.end_op, cls.key: self.number})
            finally:  # Locust waits for it, also where no engine can be told
                self.greenlet.leave()
        return True

    @task
    def engine(self) -> None:
        """Never run: the engine does the work. Locust warns of users without a task."""


def client_classes(config: LoadConfig) -> list[type[User]]:
    """One class per client group, in the order of the scenario."""
    return [
        _user_class(f"clients-{index}-{group.name}", first=group.first_client, role="clients")
        for index, group in enumerate(config.clients)
    ]


def publisher_classes(config: LoadConfig) -> list[type[User]]:
    """One class for all streams, if there are any: with a thousand classes Locust takes minutes to start."""
    return [_user_class("publishers", first=0, role="publishers")] if config.stream_count else []


def stream_classes(config: LoadConfig) -> list[type[User]]:
    """One class, with one user, per stream: whichever worker has that user, nobody else publishes the stream."""
    streams = [
        (f"publishers-{index}-{publishers.stream_name(k)}", publishers.first_stream + k)
        for index, publishers in enumerate(config.publishers)
        for k in range(publishers.count)
    ]
    classes = [_user_class(name, first=stream, role="publishers") for name, stream in streams]
    for cls in classes:
        cls.fixed_count = 1
    return classes


def equip(
    classes: Sequence[type[User]],
    order: Callable[[str, dict[str, Any]], None],
    ordinal: Callable[[str, Given], None],
) -> None:
    """Give a worker's classes their engines and their numbers."""
    for cls in classes:
        if not issubclass(cls, EngineUser):
            raise TypeError(f"{cls.__name__} is no user of fanlab's")
        cls.order = staticmethod(order)
        cls.ordinal = staticmethod(ordinal)


def _user_class(name: str, *, first: int, role: str) -> type[User]:
    words = {"clients": ("connect", "leave", "client"), "publishers": ("publish", "stop", "stream")}
    begin_op, end_op, key = words[role]
    members = {
        "__module__": __name__,
        "abstract": False,
        "first": first,
        "role": role,
        "begin_op": begin_op,
        "end_op": end_op,
        "key": key,
    }
    return type(name, (EngineUser,), members)
