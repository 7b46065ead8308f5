"""Whether a model gives back the runs that it was measured from: each is simulated again, and its hops compared."""

import asyncio
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydantic import ValidationError

from fanlab.clock import NS_PER_MS
from fanlab.errors import EnvironmentFailure, ScenarioError
from fanlab.rundir import RunDir
from fanlab.scenario.loader import Loaded
from fanlab.scenario.model import Scenario
from fanlab.simulate.estimate import estimate
from fanlab.simulate.model import Model
from fanlab.simulate.observed import Observed, observe
from fanlab.simulate.run import simulate

WITHIN: Final = 0.15  # of a hop's median: a model that is further off does not give back its own run
_LEAST_NS: Final = 20_000.0  # what is no further off than that is near enough, whatever share it is
_HOPS: Final = {"schedule": "schedule_ns", "redis": "redis_ns", "node": "hop_ns", "client": "client_ns"}
_UNITS: Final = {"_ns": "ns", "_per_s": "/s"}
_NOT_REPLAYED: Final[Mapping[str, Sequence[str]]] = {"faults": [], "gates": []}  # only the calm of a run is compared


@dataclass(frozen=True, slots=True)
class _Told:
    """What is simulated, and where to."""

    loaded: Loaded
    rundir: RunDir


def model_of(rundirs: Sequence[RunDir], *, base: Model | None = None, even_simulated: bool = False) -> Model:
    """What runs tell, and in its notes how far it gives them back. Raises MeasurementError, as `estimate` does."""
    runs = [observe(rundir, even_simulated=even_simulated) for rundir in rundirs]
    model = estimate(runs, base=base)
    manifests = [rundir.read_manifest() for rundir in rundirs]
    return replace(model, notes=(*model.notes, *replayed([*zip(manifests, runs, strict=True)], model)))


def replayed(runs: Sequence[tuple[Mapping[str, Any], Observed]], model: Model) -> tuple[str, ...]:
    """A note for each hop that some run does not get back within WITHIN, the worst of them named.

    `runs` are manifests with what was observed. What cannot be simulated has a note, too.
    """
    notes: list[str] = []
    off: dict[str, list[tuple[float, str]]] = {hop: [] for hop in _HOPS}
    for manifest, run in runs:
        name = run.about["scenario"]
        try:
            again = _again(manifest, model)
        except (ScenarioError, EnvironmentFailure, ValidationError) as error:
            notes.append(f"{name}: not simulated again: {str(error).splitlines()[0]}")
            continue
        for hop, field in _HOPS.items():
            told = _compared(getattr(run, field), getattr(again, field))
            if told is not None:
                off[hop].append((told[0], f"{name}: {told[1]:.3g} ms measured, {told[2]:.3g} ms simulated"))
    for hop, found in off.items():
        if found:
            worst = max(found)[1]
            share = f"{len(found)} of {len(runs)} runs"
            notes.append(f"{hop}: simulated again, its p50 is off by more than {WITHIN:.0%} in {share}; {worst}")
    return tuple(notes)


def _compared(real_ns: Any, told_ns: Any) -> tuple[float, float, float] | None:
    """How far off a median is, with both in ms; None where it is near enough, or there is none."""
    if not len(real_ns) or not len(told_ns):
        return None
    real, told = float(np.median(real_ns)), float(np.median(told_ns))
    if abs(told - real) <= max(_LEAST_NS, WITHIN * abs(real)):
        return None
    return abs(told - real) / max(abs(real), _LEAST_NS), real / NS_PER_MS, told / NS_PER_MS


def _again(manifest: Mapping[str, Any], model: Model) -> Observed:
    """The same scenario, simulated. Raises ScenarioError and EnvironmentFailure for what cannot be."""
    written = {**manifest["scenario"], **_NOT_REPLAYED}
    scenario = Scenario.model_validate(with_units(written), by_name=True)
    loaded = Loaded(scenario, scenario.name, {}, {}, str(manifest["scenario_sha256"]))
    with tempfile.TemporaryDirectory() as temporary:
        rundir = RunDir(Path(temporary) / "run")
        rundir.create()
        asyncio.run(simulate(_Told(loaded, rundir), lambda _: None, model))
        return observe(rundir, even_simulated=True)


def with_units(value: Any, key: str = "") -> Any:
    """A manifest's values as a file has them: a number of ns or per second with its unit."""
    if isinstance(value, Mapping):
        return {name: with_units(one, name) for name, one in value.items()}
    if isinstance(value, list):
        return [with_units(one, key) for one in value]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    unit = next((unit for end, unit in _UNITS.items() if key.endswith(end)), None)
    return f"{value}{unit}" if number and unit else value
