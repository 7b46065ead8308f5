"""The run directory: the one place a run writes to, and all that everything after the run reads.

manifest.json · journal/ · faults.jsonl · nodes/<id>.log · samples.csv · locust/ · summary.json · report.html · charts/
and with --trace: deliveries.csv.gz
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fanlab.errors import EnvironmentFailure, MeasurementError


@dataclass(frozen=True, slots=True)
class RunDir:
    """Names of the files in a run directory."""

    path: Path

    @property
    def manifest(self) -> Path:
        """What was run, where and when; rewritten as phases pass."""
        return self.path / "manifest.json"

    @property
    def journal(self) -> Path:
        """Raw evidence: `*.stripe` of fanlab's processes, `<node id>.jsonl` of nodes that journal."""
        return self.path / "journal"

    @property
    def witness(self) -> Path:
        """What a subscriber of fanlab's own, straight at Redis, had."""
        return self.journal / "witness.stripe"

    @property
    def redis_journal(self) -> Path:
        """Redis' subscribers as they came and went, a JSON line each."""
        return self.journal / "redis.jsonl"

    @property
    def link(self) -> Path:
        """Connections through fanlab's TCP proxy, and what was done to them, a JSON line each; see `fanlab.link`."""
        return self.journal / "link.jsonl"

    @property
    def faults(self) -> Path:
        """Fault stamps, a JSON line each."""
        return self.path / "faults.jsonl"

    @property
    def undo(self) -> Path:
        """What of somebody else's Redis the faults change, and that it was undone, a JSON line each."""
        return self.path / "undo.jsonl"

    @property
    def logs(self) -> Path:
        """Log files of nodes, Redis and load processes."""
        return self.path / "nodes"

    @property
    def locust(self) -> Path:
        """Locust's own statistics, as CSV files; there once its master writes some."""
        return self.path / "locust"

    @property
    def samples(self) -> Path:
        """CPU, RSS, Redis buffers and subscriber counts over time, in long form."""
        return self.path / "samples.csv"

    @property
    def summary(self) -> Path:
        """The result, schema_version 1."""
        return self.path / "summary.json"

    @property
    def deliveries(self) -> Path:
        """Every delivery, and every one that was missing; there with `--trace` only."""
        return self.path / "deliveries.csv.gz"

    @property
    def charts(self) -> Path:
        """One PNG and one SVG per chart."""
        return self.path / "charts"

    def create(self) -> None:
        """Make the directory and its folders; refuses one that holds another run."""
        if self.manifest.exists():
            raise EnvironmentFailure(f"{self.path} holds a run already", hint="give another directory with --out")
        try:
            for folder in (self.path, self.journal, self.logs, self.locust, self.charts):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EnvironmentFailure(
                f"cannot make the run directory {self.path}: {error.strerror}", hint="give a writable one with --out"
            ) from error

    def read_manifest(self) -> dict[str, Any]:
        """The manifest; MeasurementError where there is none or it cannot be read."""
        return read_json(self.manifest, hint="name a run directory, as reports/runs/<scenario>/latest")


def write_json(path: Path, data: Mapping[str, Any], *, private: bool = False) -> None:
    """Write in one step: a reader sees the old file or the new one, never half of one. `private`: nobody else may."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.touch(0o600 if private else 0o666)
        told = json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        temporary.write_bytes(told.encode(errors="backslashreplace"))  # an argument may be no UTF-8: a JSON escape
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise EnvironmentFailure(
            f"cannot write {path}: {error.strerror}", hint="free some space, or use --out"
        ) from error


def read_json(path: Path, *, hint: str) -> dict[str, Any]:
    """A JSON object from a file; MeasurementError where it is absent or is something else."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MeasurementError(f"{path} does not exist", hint=hint) from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise MeasurementError(f"{path} cannot be read: {error}", hint=hint) from None
    if not isinstance(data, dict):
        raise MeasurementError(f"{path} holds no JSON object", hint=hint)
    return data
