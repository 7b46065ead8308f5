"""What CI systems read of runs: files that the user asks for, and what GitHub takes wherever it runs fanlab."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fanlab.errors import EnvironmentFailure

if TYPE_CHECKING:
    from fanlab.report.junit import Result


@dataclass(frozen=True, slots=True)
class Outputs:
    """Which files are wanted; None: not this one."""

    junit: Path | None = None
    gitlab_metrics: Path | None = None
    benchmark_json: Path | None = None

    def tell(self, results: "Sequence[Result]") -> None:
        """Write the files; in a GitHub workflow also say what failed, and add to the step's summary.

        Raises EnvironmentFailure where a file cannot be written.
        """
        if not results:
            return
        from fanlab.report import github, junit, overtime  # late: a run begins without them

        for path, render in (
            (self.junit, junit.render),
            (self.gitlab_metrics, overtime.openmetrics),
            (self.benchmark_json, overtime.benchmark_json),
        ):
            if path is not None:
                _write(path, render(results), "w")
        if os.environ.get("GITHUB_ACTIONS") == "true":
            for summary, manifest in results:
                for line in github.annotations(summary, manifest):
                    click.echo(line, err=True)  # the runner reads both streams, and stdout may be JSON
            if told := os.environ.get("GITHUB_STEP_SUMMARY"):
                _write(Path(told), github.step_summary(results), "a")


def _write(path: Path, text: str, mode: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open(mode, encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise EnvironmentFailure(f"cannot write {path}: {error.strerror}", hint="name another file") from error
