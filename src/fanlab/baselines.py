"""Baselines as files: reports/baselines/<name>.json, small, to be committed; and run directories taken for one."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from fanlab.analysis.baseline import Baseline, baseline_from_json, make_baseline
from fanlab.errors import EnvironmentFailure, MeasurementError, Problem, ScenarioError
from fanlab.ledger.account import account
from fanlab.report.summary import make_summary
from fanlab.rundir import RunDir, write_json

HOME: Final = Path("reports") / "baselines"
NOISE: Final = "noise.json"  # stands beside them, see fanlab.noise
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def of_run(path: Path, name: str | None = None) -> Baseline:
    """What a run directory says, from its evidence. Raises MeasurementError where there is no run."""
    rundir = RunDir(path)
    manifest = rundir.read_manifest()
    found = account(rundir)
    return make_baseline(found, make_summary(found, manifest), manifest, name or str(path))


def save(path: Path, name: str | None, home: Path = HOME) -> Path:
    """Keep what a run says as a baseline; the file. Raises MeasurementError for a run that is none to compare with."""
    baseline = of_run(path, name)
    called = name or baseline.scenario
    if not _NAME.fullmatch(called):
        raise ScenarioError([Problem("--name", 0, 0, "", f"{called[:60]!r} is no name: letters, digits and . _ -")])
    if baseline.partial or baseline.verdict == "invalid":
        raise MeasurementError(
            f"{path} is {'partial' if baseline.partial else 'invalid'}: nothing can be held against it",
            hint="run it again to a valid end",
        )
    file = home / f"{called}.json"
    try:
        home.mkdir(parents=True, exist_ok=True)
        write_json(file, baseline.to_json() | {"name": called})
    except OSError as error:
        raise EnvironmentFailure(f"cannot write {file}: {error.strerror}") from error
    return file


def found_at(place: Path, home: Path = HOME) -> Baseline:
    """A run directory, a baseline's file, or the name of a baseline. Raises ScenarioError where there is none."""
    if place.is_dir():
        return of_run(place)
    file = place if place.exists() else home / f"{place}.json"
    try:
        return baseline_from_json(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        what = f"neither a run directory nor a baseline; those in {home} are {', '.join(_names(home)) or 'none'}"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"no baseline: {type(error).__name__}: {error}"
    raise ScenarioError([Problem(str(place), 0, 0, "", what)])


def saved(home: Path = HOME) -> Iterator[Baseline]:
    """All of them, by name. Raises ScenarioError for a file that is none."""
    for name in _names(home):
        yield found_at(home / f"{name}.json")


def _names(home: Path) -> list[str]:
    return sorted(path.stem for path in home.glob("*.json") if path.name != NOISE)
