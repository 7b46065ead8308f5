"""What several verbs have in common: their options, and the scenarios that they are given."""

import difflib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fanlab.errors import EnvironmentFailure, Problem, ScenarioError

if TYPE_CHECKING:
    from fanlab.scenario.loader import Loaded

scenario_options = (
    click.option(
        "--set", "overrides", multiple=True, metavar="PATH=VALUE", help="Override a value, e.g. topology.nodes.count=5."
    ),
    click.option("--seed", type=click.IntRange(min=0), help="Override the scenario's seed."),
)


def with_options(options: Sequence[Callable[[Any], Any]]) -> Callable[[Any], Any]:
    def decorate(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def backend_option(*names: str) -> Callable[[Any], Any]:
    what = "local processes, or containers at a Docker engine on this machine"
    if "external" in names:
        what += "; external: it runs already; simulate: nothing, its figures come from a model"
    return click.option(
        "--backend",
        type=click.Choice(names),
        default="process",
        show_default=True,
        help=f"What the system is made of: {what}.",
    )


model_option = click.option(
    "--model",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="What it is simulated from: a model that `fanlab model` measured.  [default: the one that fanlab brings]",
)


def find_scenarios(file: str, *, overrides: Sequence[str], seed: int | None) -> "list[Loaded]":
    """A scenario by path, or a bundled one by its bare name."""
    from fanlab.scenario.loader import load

    return load(path_of(file), overrides=overrides, seed=seed)


def path_of(file: str) -> Path:
    path = Path(file)
    if not path.exists() and os.sep not in file:
        return _bundled(file) or path
    return path


def _bundled(name: str) -> Path | None:
    """The bundled scenario of that name; a name that is nearly one's own is an error that says so."""
    from fanlab import resources

    found = resources.find_scenario(name)
    if found is not None:
        return found.relative_to(Path.cwd()) if found.is_relative_to(Path.cwd()) else found
    names = [path.stem for path in resources.folder("scenarios").glob("*.yaml")]
    for close in difflib.get_close_matches(name.removesuffix(".yaml"), names, n=1):
        raise ScenarioError([Problem(name, 0, 0, "", "does not exist", close)])
    return None


def only_one(loadeds: "list[Loaded]", verb: str) -> "Loaded":
    if len(loadeds) > 1:
        raise EnvironmentFailure(f"a matrix is {len(loadeds)} systems; `{verb}` starts one", hint="choose with --set")
    return loadeds[0]
