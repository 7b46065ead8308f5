"""Every error fanlab raises on purpose. The type says who is to blame, and so which exit code follows.

FanlabError
├── ScenarioError        the author of a scenario or a command line   exit 2
├── MeasurementError     a run that cannot be trusted                 exit 3
├── EnvironmentFailure   the machine: no Redis, no port, no disk      exit 4
│   └── NodeFailure      the system under test never got ready        exit 4
└── HarnessError         fanlab itself                                exit 70
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from fanlab.exits import Exit


class FanlabError(Exception):
    """Base of all of them; `exit_code` is what the CLI exits with, `hint` is what to do about it."""

    exit_code: Exit = Exit.BUG

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  hint: {self.hint}" if self.hint else self.message

    def reword(self, by: Callable[[str], str]) -> None:
        """Put all that it says in other words: what is secret only whoever knows the run can tell."""
        self.message = by(self.message)
        self.hint = self.hint and by(self.hint)
        self.args = (self.message,)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a scenario file. Lines and columns count from 1; 0 means the file as a whole."""

    file: str
    line: int
    column: int
    path: str
    what: str
    suggestion: str | None = None

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        path = f" {self.path}:" if self.path else ""
        more = f"; did you mean {self.suggestion!r}?" if self.suggestion else ""
        return f"{where}:{path} {self.what}{more}"


class ScenarioError(FanlabError):
    """A scenario that cannot be run as written. Carries every problem found, not the first one."""

    exit_code = Exit.SCENARIO

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)

    def reword(self, by: Callable[[str], str]) -> None:
        """See FanlabError."""
        super().reword(by)
        self.problems = tuple(replace(problem, what=by(problem.what)) for problem in self.problems)


class MeasurementError(FanlabError):
    """The run's evidence is missing or contradicts itself: there is no result to report."""

    exit_code = Exit.INVALID


class EnvironmentFailure(FanlabError):  # noqa: N818 - EnvironmentError is a builtin
    """The machine lacks something: a Redis, a port, memory, disk space."""

    exit_code = Exit.ENVIRONMENT


class NodeFailure(EnvironmentFailure):
    """A process of the system under test never got ready. `log_tail` holds its last log lines."""

    def __init__(self, message: str, *, log_tail: Sequence[str] = (), hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.log_tail = tuple(log_tail)

    def reword(self, by: Callable[[str], str]) -> None:
        """See FanlabError."""
        super().reword(by)
        self.log_tail = tuple(map(by, self.log_tail))

    def __str__(self) -> str:
        tail = "".join(f"\n  | {line}" for line in self.log_tail)
        return f"{self.message}{tail}" + (f"\n  hint: {self.hint}" if self.hint else "")


class HarnessError(FanlabError):
    """fanlab broke its own rules; please report it."""

    exit_code = Exit.BUG
