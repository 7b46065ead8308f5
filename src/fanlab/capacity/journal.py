"""A search's directory: what is searched for (search.json), and each probe before and after it (probes.jsonl).

A probe that has a line for its begin and none for its end was interrupted; it is not counted, and tried again.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fanlab.capacity.search import Probe
from fanlab.errors import EnvironmentFailure, MeasurementError, Problem, ScenarioError
from fanlab.rundir import read_json, write_json


class Journal:
    """The probes of one search, in order. Lines are appended and never changed."""

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        """Begin a search in `folder`, or take up the one that is there.

        `identity` is what makes two searches one. Raises ScenarioError where another one is there, with what differs,
        EnvironmentFailure where the folder holds something else or cannot be written to.
        """
        self.folder = folder
        self._path = folder / "probes.jsonl"
        self._identify(folder / "search.json", identity)
        self.records: list[dict[str, Any]] = []
        self.begun = 0
        self._read()
        self._earlier = len(self.records)

    @property
    def probes(self) -> list[Probe]:
        """What the search needs to know of those that ended; of earlier sessions not those that came to nothing.

        Whatever kept a run from being one may be mended now: it is tried anew.
        """
        counting = [
            record for at, record in enumerate(self.records) if at >= self._earlier or record["outcome"] != "broken"
        ]
        return [Probe(record["load"], record["outcome"], record["why"]) for record in counting]

    def begin(self, load: float, why: str) -> Path:
        """Note that a probe begins; returns its run directory, which is not there yet."""
        self.begun += 1
        place = f"runs/{self.begun:03}"
        self._append({"ev": "begin", "number": self.begun, "load": load, "reason": why, "run": place})
        return self.folder / place

    def end(self, load: float, reason: str, found: Mapping[str, Any]) -> dict[str, Any]:
        """Note what came of it."""
        record = {"number": self.begun, "load": load, "reason": reason, "run": f"runs/{self.begun:03}", **found}
        self._append({"ev": "end", **record})
        self.records.append(record)
        return record

    def _identify(self, path: Path, identity: Mapping[str, Any]) -> None:
        if path.exists():
            known = read_json(path, hint="give another directory with --out")
            keys = sorted(known.keys() | identity.keys())
            differing = [key for key in keys if known.get(key) != identity.get(key)]
            if differing:
                what = "; ".join(f"{key} was {known.get(key)!r} and is {identity.get(key)!r}" for key in differing)
                raise ScenarioError(
                    [Problem(str(self.folder), 0, 0, "", f"holds another search: {what}; give another --out")]
                )
            return
        try:
            if self.folder.exists() and any(self.folder.iterdir()):
                raise EnvironmentFailure(f"{self.folder} holds something else", hint="give another --out")
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EnvironmentFailure(
                f"cannot make {self.folder}: {error.strerror}", hint="give a writable directory with --out"
            ) from error
        write_json(path, identity)

    def _read(self) -> None:
        if not self._path.exists():
            return
        text = self._path.read_bytes()
        whole = text[: text.rfind(b"\n") + 1]
        if len(whole) < len(text):  # cut short by a kill: what it said never counted
            os.truncate(self._path, len(whole))
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                event = json.loads(line)
                kind = event.pop("ev")
                if kind == "begin":
                    self.begun = int(event["number"])
                else:
                    Probe(event["load"], event["outcome"], event["why"])
                    self.records.append(event)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise MeasurementError(
                    f"{self._path}:{number} is no probe: {error}", hint="give another directory with --out"
                ) from None

    def _append(self, event: Mapping[str, Any]) -> None:
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(event, allow_nan=False) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise EnvironmentFailure(
                f"cannot write {self._path}: {error.strerror}", hint="free some space, or use --out"
            ) from error
