"""What the checkers behind a verdict look at."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from fanlab.analysis.names import Names, names_of
from fanlab.ledger.result import Account

UNKNOWABLE_SHARE = 0.5  # with more than this of what was owed left open, "nothing lost" would say nothing
BUG = "this is a bug in fanlab, please report it"


class GateOutcome(Protocol):
    """What `fanlab.scenario.gates.evaluate` says of one gate."""

    @property
    def expr(self) -> str: ...
    @property
    def actual(self) -> Any: ...
    @property
    def ok(self) -> bool: ...


@dataclass(frozen=True)
class Case:
    """What a checker looks at."""

    account: Account
    manifest: Mapping[str, Any]
    gates: Sequence[GateOutcome]

    @cached_property
    def names(self) -> Names:
        """What the account's numbers stand for."""
        return names_of(self.manifest)

    @property
    def complete(self) -> bool:
        """Whether the run went through all its phases."""
        return self.manifest.get("status") == "complete" and not self.account.partial

    @property
    def simulated(self) -> bool:
        """Whether there was a system at all: a simulator has no generator, and what it has no need of is not asked."""
        return self.manifest.get("backend") == "simulate"


Checker = Callable[[Case], Iterator[str]]
