"""`make mutants`: change `ledger/` and `analysis/` in thousands of small ways, and see whether a test notices each.

What no test notices is a survivor. Each one has been looked at: `survivors.yaml` says why it is none the worse for the
account, and what is not in there fails the run, as does a score below 90 %. The last line is `N killed, M survived`.

The mutants are mutmut's, by all of its operators but two: blanking or dropping an argument of a call, and other letters
in a string. Those make two of three mutants, nearly all of which raise TypeError or KeyError wherever they run: they
raise the score and tell nothing. `--all` has them too, for whoever has the hours.

A mutant is tried by the unit tests that run its function, the quick ones first: those of its own module, all others,
and then those beside them.
"""

import argparse
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Final, NamedTuple

import yaml

sys.path.insert(0, str(Path(__file__).parent))

from changes import Mutant, leave_operators_out, mutants
from trial import Ran, Workshop

ROOT: Final = Path(__file__).resolve().parents[2]
REVIEWED: Final = Path(__file__).with_name("survivors.yaml")
MUTATED: Final = ("src/fanlab/ledger/*.py", "src/fanlab/analysis/*.py")
TESTS: Final = "tests/unit/test_*.py"
# They take long, and a survivor is tried against all others that import something BEARING on the matter.
NOT_ASKED: Final = frozenset(
    {"attribution", "attribution_of_faults", "charts", "docs", "mutants", "report_html", "write"}
)
BEARING: Final = re.compile(r"^(from|import) (fanlab\.(ledger|analysis|report)|support)", re.MULTILINE)
NEEDED: Final = 0.9
QUICKEST: Final = 2  # test files, first for a module that has none of its own
SLOW_S: Final = 5.0  # CPU of a test, traced; slower ones are asked only where no other runs the function
EXAMPLES: Final = "0.2"  # of what property tests try otherwise
TELL_EVERY: Final = 200

_workshop: Workshop  # of each process of the pool
_tests: Sequence[Ran]


class Survivor(NamedTuple):
    """A change that no test noticed."""

    place: str  # `fanlab.ledger.damage.single_changes`
    change: str  # `old → new`


def main() -> int:
    """Make and try all mutants; 0 if enough of them are killed and every survivor has been reviewed."""
    options = _options()
    os.chdir(ROOT)
    os.environ["FANLAB_EXAMPLES"] = EXAMPLES
    if not options.all:
        leave_operators_out()
    known = {one: why for one, why in reviewed(REVIEWED).items() if options.only in one.place}
    files = sorted(path.relative_to(ROOT) for pattern in MUTATED for path in ROOT.glob(pattern))
    with get_context("fork").Pool(options.jobs) as pool:
        made = [one for of_file in pool.imap(_made, files) for one in of_file if options.only in one.place]
    print(f"{len(made)} mutants of {len({one.file for one in made})} files", flush=True)
    alive = list(survivors(made, files, options.jobs, frozenset(known)))
    return judge(len(made), alive, known, options.unreviewed)


def survivors(
    made: Sequence[Mutant], files: Sequence[Path], jobs: int, known: frozenset[Survivor]
) -> Iterator[Survivor]:
    """Those that no test noticed, each as it is found. A known one is tried against its module's own tests only."""
    tests = [path.relative_to(ROOT) for path in sorted(ROOT.glob(TESTS)) if _bears(path)]
    context = get_context("fork")
    with tempfile.TemporaryDirectory(prefix="fanlab-mutants-") as copies:
        within = Path(copies)
        with context.Pool(jobs, _begin, (ROOT, within, ())) as pool:
            found = [
                ran
                for of_file in pool.starmap(_reach, [(test, files) for test in tests], chunksize=1)
                for ran in of_file
            ]
        slow = [ran.test for ran in found if ran.cpu_s > SLOW_S]
        print(f"{len(found)} tests of {len(tests)} files; {len(slow)} take more than {SLOW_S:g} s", flush=True)
        tasks = [(one, Survivor(one.place, one.change) in known) for one in made]
        killed = 0
        with context.Pool(jobs, _begin, (ROOT, within, found)) as pool:
            for tried, (mutant, noticed) in enumerate(pool.imap_unordered(_try, tasks), start=1):
                killed += noticed
                if not noticed:
                    yield Survivor(mutant.place, mutant.change)
                    print(f"alive: {mutant.place}: {mutant.change}", flush=True)
                if tried % TELL_EVERY == 0:
                    print(f"{tried} tried, {killed} killed", flush=True)


def judge(count: int, alive: Sequence[Survivor], known: Mapping[Survivor, str], out: Path) -> int:
    """Print what came of `count` mutants; 0 if enough were killed and every survivor has been reviewed."""
    fresh = sorted(set(alive) - known.keys())
    for one in fresh:
        print(f"not reviewed: {one.place}: {one.change}")
    for one in sorted(known.keys() - set(alive)):
        print(f"reviewed, but killed or gone: {one.place}: {one.change}")
    if fresh:
        out.write_text(_yaml(fresh), encoding="utf-8")
        print(f"{len(fresh)} survivors are not reviewed; {out} has them for {REVIEWED.name}")
    score = (count - len(alive)) / count if count else 0.0
    print(f"score {score:.1%} of {count} mutants, {NEEDED:.0%} are needed")
    print(f"{count - len(alive)} killed, {len(alive)} survived")
    return 0 if score >= NEEDED and not fresh else 1


def reviewed(file: Path) -> Mapping[Survivor, str]:
    """Each reviewed survivor and why it may live; SystemExit where no reason is given."""
    told = yaml.safe_load(file.read_text(encoding="utf-8")) if file.exists() else {}
    found = {Survivor(place, change): why for place, changes in (told or {}).items() for change, why in changes.items()}
    for one, why in found.items():
        if not isinstance(why, str) or not why.strip():
            raise SystemExit(f"{file.name}: no reason is given for {one.place}: {one.change}")
    return found


def asked(mutant: Mutant, tests: Sequence[Ran]) -> list[list[Ran]]:
    """The tests to try a mutant by, in turns: the likely ones, others that run its function, what is beside them.

    The likely ones are in the module's own test file, or else in the QUICKEST ones. Beside a test stand the others of
    its file: what one has computed, another may look at. What takes longer than SLOW_S is asked last, or not at all.
    """
    file = str(mutant.file)
    first, last = mutant.lines or (0, 0)
    running = [one for one in tests if one.runs(file, first, last)]
    if not running:  # it stands outside functions, or in one that runs at import alone
        running = [one for one in tests if one.lines.get(file, 0)]
    running = [one for one in running if one.cpu_s <= SLOW_S] or running
    costs: dict[str, float] = {}
    for one in running:
        costs[one.file] = costs.get(one.file, 0.0) + one.cpu_s
    own = f"test_{mutant.file.stem}.py"
    likely = [name for name in costs if name.endswith(f"/{own}")] or sorted(costs, key=costs.__getitem__)[:QUICKEST]

    def in_order(chosen: Iterable[Ran]) -> list[Ran]:
        return sorted(chosen, key=lambda one: (costs[one.file], one.file, one.cpu_s))

    names = {one.test for one in running}
    return [
        in_order(one for one in running if one.file in likely),
        in_order(one for one in running if one.file not in likely),
        in_order(one for one in tests if one.file in costs and one.test not in names and one.cpu_s <= SLOW_S),
    ]


def _bears(test: Path) -> bool:
    return test.stem.removeprefix("test_") not in NOT_ASKED and bool(BEARING.search(test.read_text(encoding="utf-8")))


def _begin(root: Path, within: Path, tests: Sequence[Ran]) -> None:
    global _workshop, _tests
    _workshop, _tests = Workshop(root, within), tests


def _reach(test: Path, files: Sequence[Path]) -> list[Ran]:
    return _workshop.reach(test, files)


def _try(task: tuple[Mutant, bool]) -> tuple[Mutant, bool]:
    mutant, known = task
    turns = asked(mutant, _tests)
    return mutant, any(_workshop.notices(mutant, turn) for turn in turns[: 1 if known else None] if turn)


def _made(file: Path) -> list[Mutant]:
    return list(mutants(file, _module(file)))


def _module(file: Path) -> str:
    return ".".join(file.with_suffix("").parts[1:])


def _yaml(found: Sequence[Survivor]) -> str:
    places: dict[str, dict[str, str]] = {}
    for one in found:
        places.setdefault(one.place, {})[one.change] = ""
    return yaml.safe_dump(places, sort_keys=False, allow_unicode=True, width=10_000)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="mutants", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", default="", metavar="TEXT", help="places whose name holds this text: ledger.fold")
    parser.add_argument("--all", action="store_true", help="by all of mutmut's operators")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="mutants at a time")
    default = Path(tempfile.gettempdir()) / "unreviewed.yaml"
    parser.add_argument("--unreviewed", type=Path, default=default, metavar="FILE", help=f"default: {default}")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
