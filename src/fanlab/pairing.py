"""Runs of one system or of two, one after the other: in pairs, interleaved, the invalid ones repeated."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fanlab.analysis.baseline import Baseline
from fanlab.analysis.comparable import unfit
from fanlab.baselines import of_run
from fanlab.errors import MeasurementError
from fanlab.progress import Silence
from fanlab.run import Request
from fanlab.run import run as run_scenario
from fanlab.rundir import RunDir
from fanlab.scenario.loader import Loaded
from fanlab.seed import rng
from fanlab.terminal import interruptible
from fanlab.topology.choose import BackendName

Pair = tuple[Baseline, Baseline]
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Session:
    """Where the runs are put, with what means they are made, and who hears of them."""

    home: Path
    command: Sequence[str]
    backend: BackendName = "process"
    workers: int = 1
    tell: Tell = lambda _: None

    def run(self, loaded: Loaded, name: str) -> Baseline:
        """One run. Raises what runs raise."""
        rundir = RunDir(self.home / name)
        rundir.create()
        request = Request(loaded, rundir, self.command, workers=self.workers, backend=self.backend)
        interruptible(run_scenario(request, Silence()))
        found = of_run(rundir.path, name)
        p50, p99 = (found.latency_ms[key] for key in ("p50", "p99"))
        times = ", ".join(f"{key} {value:.3g} ms" for key, value in (("p50", p50), ("p99", p99)) if value is not None)
        self.tell(f"{name}: {found.verdict}, {found.counts['ledger.lost']} lost, {times or 'no latency'}")
        return found


def orders(pairs: int, seed: int) -> list[bool]:
    """Of each pair, whether B comes first: AB BA or BA AB, as the seed has it, so that every two pairs balance."""
    random = rng(seed, "pairs")
    firsts = [random.random() < 0.5 for _ in range((pairs + 1) // 2)]  # noqa: PLR2004 - a coin
    return [first != bool(half) for first in firsts for half in (0, 1)][:pairs]


def run_pairs(session: Session, a: Loaded, b: Loaded, pairs: int, seed: int) -> list[Pair]:
    """So many pairs of runs of A and B, in one session. A pair with a run that cannot be compared is made again.

    Raises MeasurementError where half as many pairs again were of no use.
    """
    found: list[Pair] = []
    for number, b_first in enumerate(_turns(pairs, seed), start=1):
        sides = {"b": b, "a": a} if b_first else {"a": a, "b": b}
        pair = {side: session.run(loaded, f"{number:03}-{side}") for side, loaded in sides.items()}
        whys = [why for why in map(unfit, pair.values()) if why]
        if whys:
            session.tell(f"once more: {whys[0]}")
            continue
        found.append((pair["a"], pair["b"]))
        if len(found) == pairs:
            return found
    raise _too_few(len(found), pairs, session.home)


def run_alone(session: Session, loaded: Loaded, runs: int) -> list[Baseline]:
    """So many runs of one system; raises as `run_pairs` does."""
    found: list[Baseline] = []
    for number in range(1, _tries(runs) + 1):
        one = session.run(loaded, f"{number:03}")
        if why := unfit(one):
            session.tell(f"once more: {why}")
            continue
        found.append(one)
        if len(found) == runs:
            return found
    raise _too_few(len(found), runs, session.home)


def _turns(pairs: int, seed: int) -> list[bool]:
    return orders(_tries(pairs), seed)


def _tries(wanted: int) -> int:
    return wanted + -(-wanted // 2)


def _too_few(found: int, wanted: int, home: Path) -> MeasurementError:
    return MeasurementError(
        f"only {found} of {wanted} could be compared, the others were invalid: see {home}",
        hint="free this machine of other work, lower the load, or widen `limits` in the scenario",
    )
