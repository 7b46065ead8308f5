"""The verbs that hold runs against each other: baseline, compare, calibrate. Each imports late what it needs."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
from click.core import ParameterSource

from fanlab.cliparts import find_scenarios, only_one, with_options
from fanlab.exits import Exit
from fanlab.terminal import console, echo_json, printable

if TYPE_CHECKING:
    from fanlab.comparing import Comparison
    from fanlab.scenario.loader import Loaded

_PATH = click.Path(path_type=Path)
_PAIRS = 12
_TO_FIND = 0.2

_session_options = (
    click.option("--set", "overrides", multiple=True, metavar="PATH=VALUE", help="Override a value, of both."),
    click.option("--seed", type=click.IntRange(min=0), help="Override the scenario's seed, of both."),
    click.option("--out", type=_PATH, help="Where the runs are put; else reports/runs/<scenario>/<utc>."),
    click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Local Locust workers."),
    click.option("--backend", type=click.Choice(["process", "docker"]), default="process", show_default=True),
)
_noise_option = click.option(
    "--noise", type=_PATH, metavar="FILE", help="Where the noise of machines is kept.  [default: in the user's cache]"
)


@click.group()
def baseline() -> None:
    """Keep what a run came to, to hold later runs against."""


@baseline.command(name="save")
@click.argument("run_directory", metavar="RUN", type=_PATH)
@click.option("--name", help="What it is called; else as the scenario.")
def save(run_directory: Path, name: str | None) -> None:
    """Keep RUN's counts, latency and identity in reports/baselines/NAME.json, a small file to be committed."""
    from fanlab import baselines

    click.echo(printable(f"{baselines.save(run_directory, name)}: try `fanlab gate RUN --baseline {name or 'NAME'}`"))


@baseline.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_(*, as_json: bool) -> None:
    """The baselines in reports/baselines."""
    from fanlab import baselines
    from fanlab.report import comparison
    from fanlab.report.terminal import laid_out

    saved = list(baselines.saved())
    if as_json:
        echo_json([one.to_json() for one in saved])
    elif saved:
        console().print(laid_out(comparison.baselines(saved)))
    else:
        click.echo(f"there is none in {baselines.HOME}; `fanlab baseline save RUN` makes one")


@click.command()
@click.argument("a", metavar="A", type=_PATH)
@click.argument("b", metavar="B", type=_PATH)
@click.option(
    "--pairs",
    type=click.IntRange(1, 500),
    metavar="N",
    help=f"A and B are scenario files: run both N times, interleaved, and judge latency too ({_PAIRS} are a start).",
)
@click.option("--min-effect", metavar="SHARE", help="What counts as worse, as 10%; else what `calibrate` found.")
@click.option("--strict", is_flag=True, help="With --pairs: exit with 1 also where it is inconclusive.")
@_noise_option
@with_options(_session_options)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def compare(a: Path, b: Path, *, pairs: int | None, strict: bool, as_json: bool, **how: Any) -> None:
    """Is B worse than A? Run directories or baselines; with --pairs scenario files, which are run.

    Counts are compared strictly; what a fault costs, with an interval. Latency is judged from pairs of runs alone.
    Exits with 1 if B is worse, with 0 (and a warning) if nobody can tell.
    """
    from fanlab.baselines import found_at
    from fanlab.comparing import compare_runs

    if pairs is None:
        _refuse_options_of_pairs()
    found = compare_runs(found_at(a), found_at(b)) if pairs is None else _run_and_compare(a, b, pairs, **how)
    _tell(found, as_json=as_json)
    if found.verdict == "inconclusive":
        click.echo("warning: inconclusive; see above", err=True)
    failed = found.verdict == "worse" or (strict and found.verdict == "inconclusive")
    raise SystemExit(Exit.GATE_FAILED if failed else Exit.OK)


@click.command()
@click.argument("file")
@click.option("--runs", type=click.IntRange(10, 500), default=24, show_default=True, help="So many runs of FILE.")
@_noise_option
@with_options(_session_options)
def calibrate(file: str, runs: int, noise: Path | None, overrides: Sequence[str], seed: int | None, **how: Any) -> None:
    """Find this machine's own noise: run FILE against itself, and keep what effect a comparison of it needs.

    With it, at most 1 % of comparisons of a system with itself call it worse.
    """
    from fanlab import provenance
    from fanlab.analysis.compare import FIGURES, MOST_HIDDEN, noise_of
    from fanlab.noise import Noise, conditions, default_file, write_noise
    from fanlab.pairing import run_alone

    loaded = _loaded(file, overrides, seed)
    found = run_alone(_session(loaded, **how), loaded, runs)
    values = {figure: [ms for one in found if (ms := one.latency_ms[figure])] for figure in FIGURES}
    figures = {figure: noise_of(of) for figure, of in values.items() if len(of) == len(found)}
    known = Noise(loaded.scenario.name, conditions(found[0]), len(found), figures)
    place = noise or default_file()
    write_noise(place, provenance.host(), known)
    enough = known.pairs_to_find(_TO_FIND)
    for figure, effect in known.min_effects(_PAIRS).items():
        hidden = ", noisy as it is here: less stays inconclusive" if effect > MOST_HIDDEN else ""
        pairs = enough[figure]
        takes = "it takes more pairs than can be foretold" if pairs is None else f"take {pairs} pairs"
        click.echo(f"{figure}: an effect counts from {effect:.1%} on, with {_PAIRS} pairs{hidden}")
        click.echo(f"{figure}: to find {_TO_FIND:.0%} more in 19 of 20 comparisons, {takes}")
    click.echo(printable(f"{place}: noise of {loaded.scenario.name} on this machine, from {len(found)} runs"))


def _refuse_options_of_pairs() -> None:
    """Two runs are made already, and say nothing of latency. Raises UsageError for options that would be ignored."""
    context = click.get_current_context()
    meant = {"strict", "noise", "min_effect", "overrides", "seed", "out", "workers", "backend"}
    given = [
        option.opts[0]
        for option in context.command.params
        if option.name in meant and context.get_parameter_source(option.name) is not ParameterSource.DEFAULT
    ]
    if given:
        raise click.UsageError(f"{', '.join(given)}: only with --pairs, which makes runs and judges their latency")


def _run_and_compare(
    a: Path,
    b: Path,
    pairs: int,
    *,
    noise: Path | None,
    min_effect: str | None,
    overrides: Sequence[str],
    seed: int | None,
    **how: Any,
) -> "Comparison":
    from fanlab import provenance
    from fanlab.comparing import compare_pairs, refuse_other_questions, refuse_other_scenarios
    from fanlab.noise import conditions, default_file, read_noise
    from fanlab.pairing import run_pairs

    sides = [_loaded(str(file), overrides, seed) for file in (a, b)]
    refuse_other_scenarios(*(side.scenario.model_dump(mode="json") for side in sides), names=(str(a), str(b)))
    asked = None if min_effect is None else _share(min_effect)
    found = run_pairs(_session(sides[0], **how), sides[0], sides[1], pairs, sides[0].scenario.seed)
    for pair in found:
        refuse_other_questions(*pair)
    known = read_noise(noise or default_file(), provenance.host(), conditions(found[0][0]))
    effects = {} if known is None else known.min_effects(pairs)
    return compare_pairs(found, effects, seed=sides[0].scenario.seed, names=(str(a), str(b)), asked=asked)


def _session(loaded: "Loaded", *, out: Path | None, workers: int, backend: Literal["process", "docker"]) -> Any:
    from fanlab.pairing import Session
    from fanlab.places import new_place

    home = out or new_place(loaded.scenario.name)
    return Session(
        home, ["fanlab", *sys.argv[1:]], backend, workers, tell=lambda said: click.echo(printable(said), err=True)
    )


def _loaded(file: str, overrides: Sequence[str], seed: int | None) -> "Loaded":
    return only_one(find_scenarios(file, overrides=overrides, seed=seed), "compare")


def _share(written: str) -> float:
    from fanlab.scenario.gates import GateError, parse_gate

    try:
        share = parse_gate(f"loss.ratio < {written}").threshold
    except GateError:
        share = 0.0
    if not 0 < share < 10:  # noqa: PLR2004 - ten times as slow is not to be called noise
        raise click.UsageError(f"--min-effect: {written!r} is no share; write it as 10%")
    return share


def _tell(found: "Comparison", *, as_json: bool) -> None:
    if as_json:
        echo_json(found.to_json())
        return
    from fanlab.report import comparison
    from fanlab.report.terminal import laid_out

    out = console()
    for table in (comparison.latency(found.latency), comparison.counts(found.counts)):
        out.print(laid_out(table))
    out.print(f"\nB is {found.verdict}", markup=False, highlight=False)
    for line in (*found.worse, *found.notes):
        out.print(f"  • {printable(line)}", markup=False, highlight=False)
