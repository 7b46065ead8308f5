"""Locust's worker runner, for many users: it knows how many there are of each class.

Locust's own walks over all of them, half a dozen times for each step of a ramp: the square of the number of users.
"""

from collections import Counter
from typing import Any

from gevent.pool import Group
from locust.env import Environment
from locust.runners import WorkerRunner
from locust.stats import RequestStats


class CountedGroup(Group):  # type: ignore[misc]
    """A group whose members are counted by the class of their user."""

    def __init__(self) -> None:
        super().__init__()
        self.by_class: Counter[str] = Counter()

    def add(self, greenlet: Any) -> None:
        """A user has come."""
        super().add(greenlet)
        self.by_class[type(greenlet.args[0]).__name__] += 1

    def _discard(self, greenlet: Any) -> None:
        """A user has gone. gevent calls this one, whatever way it went."""
        if greenlet in self.greenlets:
            self.by_class[type(greenlet.args[0]).__name__] -= 1
        super()._discard(greenlet)


class CountingRunner(WorkerRunner):
    """A worker's runner."""

    def __init__(self, environment: Environment, host: str, port: int) -> None:
        """Connects to the master, as `Environment.create_worker_runner` has its own do."""
        environment.stats = RequestStats(use_response_times_cache=False)  # likewise: only masters ask for times
        super().__init__(environment, host, port)
        self.user_greenlets: CountedGroup = CountedGroup()
        environment.runner = self

    @property
    def user_classes_count(self) -> dict[str, int]:
        """How many users there are of each class."""
        counts: Any = getattr(self.user_greenlets, "by_class", Counter())  # none: it is still being made
        return {cls.__name__: counts[cls.__name__] for cls in self.user_classes}
