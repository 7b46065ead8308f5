"""`make mutants`: change `ledger/` and `analysis/` in thousands of small ways, and see whether a test notices each.

What no test notices is a survivor. Each one has been looked at: `survivors.yaml` says why it is none the worse for the
account, and what is not in there fails the run, as does a score below 90 %. The last line is `N killed, M survived`.

The mutants are mutmut's, by all of its operators but two: blanking or dropping an argument of a call, and other letters
in a string. Those make two of three mutants, nearly all of which raise TypeError or KeyError wherever they run: they
raise the score and tell nothing. `--all` has them too, for whoever has the hours.
"""

import argparse
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import yaml

sys.path.insert(0, str(Path(__file__).parent))

import mutmut.__main__ as mutmut
from mutmut.configuration import config
from mutmut.mutation import file_mutation
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.stats import status_by_exit_code
from outside import Variant, survivors, variants

ROOT: Final = Path(__file__).resolve().parents[2]
REVIEWED: Final = Path(__file__).with_name("survivors.yaml")
WORK: Final = ROOT / "mutants"
UNREVIEWED: Final = WORK / "unreviewed.yaml"
LEFT_OUT: Final = frozenset({"operator_arg_removal", "operator_string"})
AT_IMPORT: Final = {"src/fanlab/ledger/damage.py": frozenset({"_effects"})}  # what they return is a constant
NEEDED: Final = 0.9
NOTICED: Final = frozenset({"killed", "timeout", "segfault"})  # mutmut's words; whatever else it says is a survivor


class Survivor(NamedTuple):
    """A change that no test noticed. It is told apart by its text: numbers of mutants move with every edit."""

    place: str  # `fanlab.ledger.damage.single_changes`
    change: str  # `old → new`


def main() -> int:
    """Make and try all mutants; 0 if enough of them are killed and every survivor has been reviewed."""
    options = _options()
    os.chdir(ROOT)  # where mutmut looks for pyproject.toml
    os.environ["FANLAB_EXAMPLES"] = "0.2"  # of what property tests try otherwise
    if not options.again:
        shutil.rmtree(WORK, ignore_errors=True)
    if not options.all:
        chosen = [pair for pair in file_mutation.mutation_operators if pair[1].__name__ not in LEFT_OUT]
        file_mutation.mutation_operators[:] = chosen
    _forget_survivors()
    mutmut._run([], options.jobs)
    codes = {name: code for _, names in _results() for name, code in names.items() if not _ran_at_import(name)}
    others = [one for file in _mutated_files() for one in variants(file, AT_IMPORT.get(str(file), frozenset()))]
    tests = [*config().pytest_add_cli_args_test_selection, *config().pytest_add_cli_args]
    print(f"{len(others)} mutants of decision tables, properties, and what runs at import")
    alive = [*_survivors(codes), *map(_survivor, survivors(others, ROOT, tests, options.jobs))]
    return judge(len(codes) + len(others), alive, reviewed(REVIEWED))


def judge(count: int, alive: Sequence[Survivor], reviewed: Mapping[Survivor, str]) -> int:
    """Print what came of `count` mutants; 0 if enough were killed and every survivor has been reviewed."""
    fresh = [one for one in dict.fromkeys(alive) if one not in reviewed]
    gone = reviewed.keys() - set(alive)
    for one in fresh:
        print(f"not reviewed: {one.place}: {one.change}")
    for one in sorted(gone):
        print(f"reviewed, but killed or gone: {one.place}: {one.change}")
    if fresh:
        UNREVIEWED.parent.mkdir(exist_ok=True)
        UNREVIEWED.write_text(_yaml(fresh), encoding="utf-8")
        print(f"{len(fresh)} survivors are not reviewed; {UNREVIEWED.relative_to(ROOT)} has them for {REVIEWED.name}")
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


def _yaml(survivors: Sequence[Survivor]) -> str:
    places: dict[str, dict[str, str]] = {}
    for one in sorted(survivors):
        places.setdefault(one.place, {})[one.change] = ""
    return yaml.safe_dump(places, sort_keys=False, allow_unicode=True, width=10_000)


def _mutated_files() -> list[Path]:
    return sorted(path for pattern in config().only_mutate for path in Path().glob(pattern))


def _results() -> Iterator[tuple[Path, dict[str, int | None]]]:
    for meta in sorted(WORK.glob("src/**/*.meta")):
        yield meta, json.loads(meta.read_text(encoding="utf-8"))["exit_code_by_key"]


def _forget_survivors() -> None:
    """So that mutmut tries them again: tests may have come since."""
    for meta, codes in _results():
        kept = {name: code if _noticed(code) else None for name, code in codes.items()}
        told = json.loads(meta.read_text(encoding="utf-8"))
        meta.write_text(json.dumps({**told, "exit_code_by_key": kept}), encoding="utf-8")


def _survivors(codes: Mapping[str, int | None]) -> Iterator[Survivor]:
    for name, code in codes.items():
        if not _noticed(code):
            module, mangled = name.rsplit(".", 1)
            path = Path("src", *module.split(".")).with_suffix(".py")
            function = re.sub(r"__mutmut_\d+$", "", mangled)
            plain = function.removeprefix("xǁ").replace("ǁ", ".") if "ǁ" in function else function.removeprefix("x_")
            yield Survivor(f"{module}.{plain}", _change(get_diff_for_mutant(name, path=path)))


def _noticed(code: int | None) -> bool:
    return status_by_exit_code[code] in NOTICED


def _survivor(variant: Variant) -> Survivor:
    return Survivor(variant.place, variant.change)


def _change(diff: str) -> str:
    lines = diff.split("\n")[2:]  # past the names of the files
    old, new = (" ".join(line[1:].strip() for line in lines if line.startswith(sign)) for sign in "-+")
    return f"{old} → {new}"


def _ran_at_import(name: str) -> bool:
    module, mangled = name.rsplit(".", 1)
    names = AT_IMPORT.get(f"src/{module.replace('.', '/')}.py", frozenset())
    return any(mangled.startswith(f"x_{one}__mutmut_") for one in names)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="mutants", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--again", action="store_true", help="only what survived last time, and what has changed since")
    parser.add_argument("--all", action="store_true", help="by all of mutmut's operators")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="mutants at a time")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
