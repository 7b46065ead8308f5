"""The noise of this machine, as `fanlab calibrate` found it: kept by host and scenario, and the effect that follows."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from fanlab.analysis.baseline import Baseline, identity
from fanlab.analysis.compare import MIN_PAIRS, min_effect_of, pairs_to_find
from fanlab.errors import EnvironmentFailure
from fanlab.rundir import write_json

VERSION: Final = 1
_OF_A_HOST: Final = ("system", "machine", "processor", "cores", "memory_bytes")
_SEED: Final = 1  # of the resampling: the same file gives the same threshold


@dataclass(frozen=True, slots=True)
class Noise:
    """What A/A runs of a scenario on a host came to: by figure, ln of the ratio of the two runs of each pair."""

    scenario: str
    of: str  # as `conditions` has it
    runs: int
    figures: Mapping[str, Sequence[float]]

    def min_effects(self, pairs: int) -> dict[str, float]:
        """By figure, the effect that comparisons of so many pairs need."""
        return {
            figure: min_effect_of(logs, pairs, seed=_SEED)
            for figure, logs in self.figures.items()
            if len(logs) >= MIN_PAIRS
        }

    def pairs_to_find(self, effect: float) -> dict[str, int | None]:
        """By figure, how many pairs it takes to find that something is slower by `effect`; None: too many."""
        return {
            figure: pairs_to_find(logs, effect, seed=_SEED)
            for figure, logs in self.figures.items()
            if len(logs) >= MIN_PAIRS
        }


def conditions(run: Baseline) -> str:
    """What noise depends on besides the host: the scenario, the backend, the number of load workers."""
    return f"{identity(run)} {run.backend} {run.workers}"


def default_file() -> Path:
    """In the user's cache: noise is a machine's, and not a repository's."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fanlab" / "noise.json"


def host_key(host: Mapping[str, Any]) -> str:
    """What makes a host another one, in a few characters."""
    told = json.dumps({key: host.get(key) for key in _OF_A_HOST}, sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def read_noise(file: Path, host: Mapping[str, Any], of: str) -> Noise | None:
    """What is known of that on that host; None: nothing. Raises EnvironmentFailure for a file that is none."""
    known = _entries(file).get(host_key(host), {}).get("scenarios", {}).get(of)
    return None if known is None else Noise(**known)


def write_noise(file: Path, host: Mapping[str, Any], noise: Noise) -> None:
    """Put it beside what the file holds of other hosts and scenarios. Raises EnvironmentFailure."""
    hosts = _entries(file)
    entry = hosts.setdefault(host_key(host), {"host": {key: host.get(key) for key in _OF_A_HOST}, "scenarios": {}})
    entry["scenarios"][noise.of] = asdict(noise)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentFailure(f"cannot write {file}: {error.strerror}", hint="name another with --noise") from error
    write_json(file, {"noise_version": VERSION, "hosts": hosts})


def _entries(file: Path) -> dict[str, Any]:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise EnvironmentFailure(f"{file} cannot be read: {error}", hint="remove it, or name another") from error
    if not isinstance(data, dict) or data.get("noise_version") != VERSION or not isinstance(data.get("hosts"), dict):
        raise EnvironmentFailure(f"{file} holds no noise of version {VERSION}", hint="remove it, or name another")
    hosts: dict[str, Any] = data["hosts"]
    return hosts
