"""The verbs that plan capacity: model, simulate, forecast, capacity. Each imports late what it needs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from fanlab.cliparts import (
    backend_option,
    find_scenarios,
    model_option,
    only_one,
    path_of,
    scenario_options,
    with_options,
)
from fanlab.terminal import echo_json

_MOST_NODES = 100_000


def _counts(_context: click.Context, _option: click.Parameter, value: str) -> tuple[int, ...]:
    """Numbers of nodes, as 1,2,4."""
    words = [word.strip() for word in value.split(",") if word.strip()]
    if not all(word.isdecimal() and 0 < int(word) <= _MOST_NODES for word in words):
        raise click.BadParameter(f"{value!r} is no list of numbers of nodes, as 1,2,4")
    return tuple(int(word) for word in words)


@click.command(name="model")
@click.argument("runs", nargs=-1, required=True, metavar="RUN…", type=click.Path(path_type=Path))
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), metavar="FILE", help="Write it there; else only print it."
)
def model_(runs: Sequence[Path], out: Path | None) -> None:
    """Measure from RUN… what each hop costs, for `--backend simulate` and `forecast`.

    Runs that differ in nodes, clients and rate tell more than one run does: what they do not tell apart is said. Each
    run is simulated again: a hop whose median the model does not give back within 15 % is named.
    """
    from fanlab.rundir import RunDir, write_json
    from fanlab.simulate.model import read_model, to_json
    from fanlab.simulate.replay import model_of
    from fanlab.simulate.tables import model_table

    found = model_of([RunDir(run) for run in runs], base=read_model())
    if out is not None:
        write_json(out, to_json(found))
    click.echo(model_table(found))


@click.command()
@click.argument("file")
@with_options(scenario_options)
@click.option("--nodes", type=click.IntRange(1, 100_000), help="So many nodes in all, in the file's proportions.")
@click.option("--clients", metavar="N", help="So many clients in all, likewise: 10M.")
@click.option("--egress", metavar="SIZE", help="What each node's link takes in a second: 125MB.  [default: no limit]")
@model_option
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def simulate(
    file: str, overrides: Sequence[str], seed: int | None, clients: str | None, egress: str | None, **how: Any
) -> None:
    """Simulate scenario FILE at any size, by cohorts: counts, latency and load, but no run directory and no verdict."""
    from fanlab.simulate.model import read_model
    from fanlab.simulate.scaled import scaled, simulate_cohorts
    from fanlab.simulate.tables import figures_text
    from fanlab.units import parse_count, parse_size_bytes

    loaded = only_one(find_scenarios(file, overrides=overrides, seed=seed), "simulate")
    try:
        scenario = scaled(
            loaded.scenario, nodes=how["nodes"], clients=None if clients is None else parse_count(clients)
        )
        line = None if egress is None else float(parse_size_bytes(egress))
    except ValueError as error:
        raise click.UsageError(f"--nodes, --clients or --egress: {error}") from None
    figures = simulate_cohorts(scenario, read_model(how["model"]), egress_bytes_per_s=line)
    if how["as_json"]:
        echo_json(figures.to_json())
    else:
        click.echo(figures_text(figures))


@click.command()
@click.option("--clients", required=True, metavar="N", help="How many, as 200k.")
@click.option("--rate", required=True, metavar="RATE", help="Messages on each channel, as 50/s.")
@click.option(
    "--slo", required=True, metavar="GATES", help='What must hold: "latency.p99 < 100ms and loss.ratio == 0".'
)
@click.option(
    "--channels", type=click.IntRange(1, 100), default=1, show_default=True, help="Clients are spread over so many."
)
@click.option("--payload", default="128B", show_default=True, metavar="SIZE", help="Of each message.")
@click.option("--busy", type=click.FloatRange(0.01, 1.0), default=0.7, show_default=True, help="Most of a core.")
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Of the simulations.")
@model_option
@click.option("--force", is_flag=True, help="Also where it is a guess: past twice what the model was measured at.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def forecast(clients: str, rate: str, slo: str, *, force: bool, as_json: bool, **how: Any) -> None:
    """Say how many nodes, Redis shards, memory and egress so many clients take, with an interval and assumptions."""
    from fanlab.capacity.slo import parse_slo
    from fanlab.simulate.forecast import Wanted, refuse_untold
    from fanlab.simulate.forecast import forecast as make_forecast
    from fanlab.simulate.model import read_model
    from fanlab.simulate.tables import forecast_text
    from fanlab.units import parse_count, parse_rate_per_s, parse_size_bytes

    model = read_model(how.pop("model"))
    try:
        gates = tuple(parse_slo(slo))
        refuse_untold(gates)
        size = parse_size_bytes(how.pop("payload"))
        wanted = Wanted(parse_count(clients), parse_rate_per_s(rate), gates, payload_bytes=size, **how)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if not wanted.rate_per_s or wanted.clients < wanted.channels:
        raise click.UsageError("a forecast takes a rate above 0, and a client for each channel")
    found = make_forecast(wanted, model, force=force)
    if as_json:
        echo_json(found.to_json())
    else:
        click.echo(forecast_text(found))


@click.command()
@click.argument("file")
@with_options(scenario_options)
@click.option("--slo", required=True, metavar="GATES", help="As 'latency.p99 < 100ms and loss.ratio == 0'.")
@click.option("--axis", type=click.Choice(["rate", "clients", "nodes"]), required=True, help="What the search changes.")
@backend_option("process", "docker")
@click.option("--out", type=click.Path(path_type=Path), help="The search's directory; the same again takes it up.")
@click.option("--prices", type=click.Path(path_type=Path), metavar="FILE", help="To say what deliveries cost.")
@click.option("--from", "start", type=float, metavar="LOAD", help="Where to begin.  [default: the file's own load]")
@click.option("--max", "most", type=float, metavar="LOAD", help="The highest load, or the most nodes, to try.")
@click.option("--precision", type=click.FloatRange(0.01, 1), default=0.1, show_default=True, help="As a share.")
@click.option("--repeats", type=click.IntRange(1, 50), default=3, show_default=True, help="Runs at each end, at least.")
@click.option("--max-runs", type=click.IntRange(1, 1000), default=40, show_default=True, help="No more runs than this.")
@click.option("--budget", metavar="DURATION", help="No run begins after so long, as 20m.")
@click.option("--confidence", type=click.FloatRange(0.5, 0.999), default=0.9, show_default=True, help="Interval's.")
@click.option(
    "--over-nodes", callback=_counts, default="", metavar="N,N,…", help="Search with each; fit a law over them."
)
@click.option("--foretell", callback=_counts, default="", metavar="N,N,…", help="By that law, of so many nodes.")
@click.option("--force", is_flag=True, help="Also past twice the nodes that were measured: a guess.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Local Locust workers.")
@click.option("--redis-url", help="Use this Redis instead of starting one.")
@click.option("--json", "as_json", is_flag=True, help="capacity.json alone on stdout, everything else on stderr.")
@click.option("--no-progress", is_flag=True, help="No live view of the runs.")
def capacity(file: str, *, overrides: Sequence[str], seed: int | None, **how: Any) -> None:
    """Search how much FILE's system carries within an objective, with an interval, and name what saturates.

    Exit codes: 0 an answer; 3 none, or only a bound; the others as ever.
    """
    from fanlab.capacity.command import capacity as search

    loaded = only_one(find_scenarios(file, overrides=overrides, seed=seed), "capacity")
    raise SystemExit(search(path_of(file), loaded, overrides=overrides, **how))
