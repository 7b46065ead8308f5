"""The verbs, their options, and what they exit with. Each imports what it needs when it runs, so that help is quick."""

import asyncio
import gc
import io
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import click

from fanlab import __version__
from fanlab.clicompare import baseline, calibrate, compare
from fanlab.cliparts import backend_option, find_scenarios, model_option, only_one, scenario_options, with_options
from fanlab.cliplan import capacity, forecast, model_, simulate
from fanlab.errors import EnvironmentFailure, FanlabError, Problem, ScenarioError
from fanlab.exits import Exit
from fanlab.redaction import Secrets, hide_urls, hide_word, secrets_of_settings, secrets_of_words
from fanlab.terminal import console, echo_json, interruptible, json_text, nobody_reads, printable, sigterm_as_ctrl_c

if TYPE_CHECKING:
    from fanlab.beyond import Beyond
    from fanlab.outputs import Outputs
    from fanlab.scenario.loader import Loaded

DEMO = "quickstart"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="fanlab")
def cli() -> None:
    """Start N WebSocket nodes and a Redis, load them, break them, and account for every delivery.

    \b
    Exit codes:
      0    pass
      1    a gate failed
      2    usage or scenario error
      3    the measurement is invalid
      4    environment: no Redis, a node that never got ready, a full disk
      70   a bug in fanlab
      130  interrupted
    """


_beyond_options = (
    click.option(
        "--node", "nodes", multiple=True, metavar="ID=URL", help="A node that runs, e.g. node-1=ws://10.0.0.5:8765/ws."
    ),
    click.option(
        "--targets",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="A file that names the nodes and the Redis that run.",
    ),
    click.option(
        "--allow-remote", multiple=True, metavar="HOST", help="Load this machine, too: a name or an address, each time."
    ),
    click.option("--max-rate", metavar="RATE", help="Most messages and reads for other machines.  [default: 1k/s]"),
    click.option(
        "--max-connections", type=click.IntRange(min=1), help="Most clients for other machines.  [default: 1000]"
    ),
)
_output_options = (
    click.option(
        "--junit", type=click.Path(path_type=Path), metavar="FILE", help="JUnit XML: a case per gate, one for the run."
    ),
    click.option(
        "--gitlab-metrics",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="OpenMetrics text, for GitLab.",
    ),
    click.option(
        "--benchmark-json",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="JSON for github-action-benchmark (customSmallerIsBetter).",
    ),
)
_run_options = (
    *scenario_options,
    backend_option("process", "docker", "external", "simulate"),
    model_option,
    click.option(
        "--out", type=click.Path(path_type=Path), help="The run directory itself; else reports/runs/<scenario>/<utc>."
    ),
    click.option("--workers", type=click.IntRange(0, 64), default=1, show_default=True, help="Local Locust workers."),
    click.option(
        "--expect-workers", type=click.IntRange(1, 64), metavar="N", help="Wait for N workers on other hosts as well."
    ),
    click.option(
        "--listen",
        default="127.0.0.1",
        show_default=True,
        metavar="HOST[:PORT]",
        help="Where they join, with the token that is printed.",
    ),
    click.option(
        "--system-host",
        metavar="ADDRESS",
        help="Where nodes and Redis listen, instead of 127.0.0.1: an address of this machine that other hosts reach.",
    ),
    click.option("--redis-url", help="Use this Redis instead of starting one."),
    *_beyond_options,
    click.option(
        "--trace", is_flag=True, help="Write every delivery to deliveries.csv.gz, and have a second checker count them."
    ),
    *_output_options,
    click.option("--json", "as_json", is_flag=True, help="summary.json alone on stdout, everything else on stderr."),
    click.option("--no-progress", is_flag=True, help="Say nothing while it runs."),
)


@cli.command()
@click.argument("file")
@with_options(_run_options)
def run(file: str, **options: Any) -> None:
    """Run scenario FILE (a path, or the name of a bundled scenario) and report on it."""
    _run(file, **options)


@cli.command()
@with_options(_run_options)
def demo(**options: Any) -> None:
    """Run the quickstart scenario: three nodes, one Redis, one crash, one report."""
    _run(DEMO, **options)


def _run(file: str, *, overrides: Sequence[str], seed: int | None, **how: Any) -> NoReturn:
    # What modules make stays: to look through it again and again is a tenth of their loading, and once more after.
    gc.disable()
    from fanlab.attended import run_all

    gc.freeze()
    gc.enable()
    _refuse_with_simulate(how)
    outputs = _outputs(how)
    beyond = _beyond(how)
    loadeds = find_scenarios(file, overrides=overrides, seed=seed)
    if beyond.invitation is not None:
        only_one(loadeds, "run --expect-workers")
    raise SystemExit(run_all(loadeds, beyond=beyond, outputs=outputs, **how))


def _outputs(how: dict[str, Any]) -> "Outputs":
    """The files that the options ask for; they are taken out of `how`."""
    from fanlab.outputs import Outputs

    return Outputs(*(how.pop(name) for name in ("junit", "gitlab_metrics", "benchmark_json")))


def _refuse_with_simulate(how: dict[str, Any]) -> None:
    simulated = how["backend"] == "simulate"
    if simulated and (how["redis_url"] or how["nodes"] or how["targets"] or how["expect_workers"]):
        raise click.UsageError(
            "--backend simulate starts and loads nothing: leave out --redis-url, --node and the like"
        )
    if how["model"] is not None and not simulated:
        raise click.UsageError("--model is what --backend simulate simulates from")


def _beyond(how: dict[str, Any]) -> "Beyond":
    """What the options say of other machines; they are taken out of `how`. Raises ScenarioError, UsageError."""
    from fanlab.beyond import Beyond
    from fanlab.load.caps import CONNECTIONS, RATE_PER_S, Caps
    from fanlab.load.invitation import invitation
    from fanlab.topology.ports import HOST
    from fanlab.topology.reach import is_ipv4
    from fanlab.topology.targets import told
    from fanlab.units import parse_rate_per_s

    backend, nodes, file = how["backend"], how.pop("nodes"), how.pop("targets")
    expect, listen, system_host = how.pop("expect_workers"), how.pop("listen"), how.pop("system_host")
    max_rate, max_connections = how.pop("max_rate"), how.pop("max_connections")
    try:
        rate_per_s = RATE_PER_S if max_rate is None else parse_rate_per_s(max_rate)
    except ValueError as error:
        raise click.UsageError(f"--max-rate: {error}") from None
    try:
        invited = None if expect is None else invitation(expect, listen, os.environ.get("FANLAB_TOKEN") or None)
    except ValueError as error:
        raise click.UsageError(f"--listen, or FANLAB_TOKEN: {error}") from None
    if not (how["workers"] or invited):
        raise click.UsageError("--workers 0: nobody would do the work; have one, or --expect-workers")
    if invited and backend == "docker":
        raise click.UsageError(
            "--expect-workers: containers listen where other hosts do not reach them: leave docker out"
        )
    if system_host is not None and not (is_ipv4(system_host) and backend == "process"):
        raise click.UsageError("--system-host is an IPv4 address, for a system that fanlab starts as processes")
    if backend != "external" and (nodes or file):
        raise click.UsageError("--node and --targets name a system that runs already: use --backend external")
    return Beyond(
        targets=told(nodes, file, how["redis_url"]) if backend == "external" else None,
        allow=tuple(how.pop("allow_remote")),
        caps=Caps(rate_per_s, max_connections or CONNECTIONS),
        invitation=invited,
        system_host=system_host or HOST,
    )


@cli.command()
@click.option("--master", required=True, metavar="HOST:PORT", help="Where the run listens, as it says.")
@click.option(
    "--token",
    envvar="FANLAB_TOKEN",
    required=True,
    help="The token that the run prints; or FANLAB_TOKEN, unseen by ps.",
)
@click.option("--redis-url", help="The run's Redis as this host reaches it, if the run names it otherwise.")
def worker(master: str, token: str, redis_url: str | None) -> None:
    """Join a run of another host as a load worker: `fanlab run FILE --expect-workers N` there says how."""
    from fanlab.load.agent import Agent
    from fanlab.load.invitation import parse_address

    try:
        host, port = parse_address(master)
    except ValueError as error:
        raise click.UsageError(f"--master: {error}") from None
    if not port:
        raise click.UsageError("--master: which port? The run prints it")
    agent = Agent((host, port), token, tell=lambda said: click.echo(said, err=True), redis_url=redis_url)
    interruptible(agent.work())


@cli.command()
@click.argument("run_directory", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="summary.json alone on stdout.")
def report(run_directory: Path, as_json: bool) -> None:
    """Make the report of RUN again, offline, from its journals; of an aborted run too."""
    from fanlab.attended import VERDICT_EXITS, make_report

    summary = make_report(run_directory, quiet=as_json)
    if as_json:
        echo_json(summary)
    raise SystemExit(VERDICT_EXITS[summary["verdict"]])


@cli.command()
@click.argument("run_directory", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--gate", "expressions", multiple=True, metavar="EXPR", help="Judge by this gate, each time another one.")
@click.option("--gates", "file", type=click.Path(path_type=Path), metavar="FILE", help="Judge by the gates of a file.")
@click.option(
    "--baseline", "before", type=click.Path(path_type=Path), metavar="NAME|FILE|RUN", help="And by a baseline."
)
@with_options(_output_options)
@click.option("--json", "as_json", is_flag=True, help="The summary alone on stdout, as judged now.")
def gate(
    run_directory: Path,
    expressions: Sequence[str],
    file: Path | None,
    before: Path | None,
    *,
    as_json: bool,
    **how: Any,
) -> None:
    """Judge RUN again, offline: by its own gates, or by those given; what RUN holds does not change.

    FILE is YAML: a list of gates, or a mapping with `gates`, as a scenario is.
    """
    from fanlab.attended import VERDICT_EXITS, show_gates
    from fanlab.gating import held_against, judged
    from fanlab.rundir import RunDir
    from fanlab.scenario.gatefile import given_in_file, given_in_words

    outputs = _outputs(how)
    given = None if file is None and not expressions else given_in_words(expressions)
    if given is not None and file is not None:
        given += given_in_file(file)
    summary, manifest = judged(RunDir(run_directory), given)
    if before is not None:
        summary, notes = held_against(before, run_directory, summary)
        for note in notes:
            click.echo(printable(f"note: {note}"), err=True)
    outputs.tell([(summary, manifest)])
    if as_json:
        echo_json(summary)
    else:
        show_gates(summary, manifest)
    raise SystemExit(VERDICT_EXITS[summary["verdict"]])


@cli.command()
@click.argument("run_directory", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--client", metavar="C", help="Its number in the plan, or group:ordinal, as readers:3.")
@click.option("--seq", type=click.IntRange(min=1), metavar="S", help="The number of the message in its stream.")
@click.option("--publisher", help="Whose message, where several publishers use the number.")
@click.option("--channel", help="On which channel, likewise.")
@click.option("--lost", is_flag=True, help="List some losses to look at; with --client, of that client.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def explain(run_directory: Path, client: str | None, seq: int | None, *, lost: bool, as_json: bool, **of: Any) -> None:
    """Tell the story of one message and one client of RUN: delivered, or lost where and why, and what led there."""
    from fanlab.report import explain as explained
    from fanlab.rundir import RunDir

    rundir = RunDir(run_directory)
    if lost and seq is None:
        found, total = explained.some_losses(rundir, client)
        if as_json:
            echo_json(found)
        else:
            click.echo(explained.render_losses(found, total, shlex.quote(str(run_directory))), nl=False)
        return
    if lost or client is None or seq is None:
        raise click.UsageError("name --client and --seq, or list losses to choose from with --lost")
    stories = explained.stories(rundir, client, seq, **of)
    if as_json:
        echo_json([story.to_json() for story in stories])
    else:
        click.echo("\n".join(map(explained.render, stories)), nl=False)


@cli.command()
@click.argument("run_directory", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def crosscheck(run_directory: Path, as_json: bool) -> None:
    """Count RUN once more with a second checker, in SQL, and say whether the two agree on every message."""
    from fanlab.agreement import compare, second_opinion
    from fanlab.analysis.names import names_of
    from fanlab.ledger.account import account
    from fanlab.report import agreement
    from fanlab.rundir import RunDir

    rundir = RunDir(run_directory)
    with second_opinion(rundir) as second:
        found = compare(account(rundir), second)
    manifest = rundir.read_manifest()
    names, zero_ns = names_of(manifest), manifest["phases"]["zero_ns"]
    if as_json:
        echo_json(agreement.to_json(found, names, zero_ns))
    else:
        console().print(agreement.table(found, names, zero_ns))
    raise SystemExit(Exit.OK if found.agrees else Exit.INVALID)


@cli.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE…")
@with_options(scenario_options)
def validate(files: Sequence[str], overrides: Sequence[str], seed: int | None) -> None:
    """Check scenario files; every error of every file, as file:line:col: path: what."""
    problems: list[Problem] = []
    for file in files:
        try:
            cells = find_scenarios(file, overrides=overrides, seed=seed)
        except ScenarioError as error:
            problems.extend(error.problems)
        else:
            runs = "1 run" if len(cells) == 1 else f"{len(cells)} runs"
            click.echo(printable(f"{file}: good, {runs}"))
    if problems:
        raise ScenarioError(problems)


@cli.command()
@click.argument("file")
@with_options(scenario_options)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.option("--compose", "as_compose", is_flag=True, help="As a Docker Compose file with Locust's web UI, by hand.")
def plan(file: str, overrides: Sequence[str], seed: int | None, as_json: bool, as_compose: bool) -> None:
    """Dry run: processes, timeline, deliveries expected, loss predicted, and where each value comes from."""
    from fanlab.dryrun import make_dryrun, render, to_json

    loadeds = find_scenarios(file, overrides=overrides, seed=seed)
    if as_compose:
        if as_json:
            raise click.UsageError("--json and --compose are two forms of one plan: choose one")
        click.echo(_compose(only_one(loadeds, "plan --compose")), nl=False)
        return
    dryruns = [make_dryrun(loaded) for loaded in loadeds]
    if as_json:
        documents = [to_json(dryrun) for dryrun in dryruns]
        click.echo(json_text(documents[0] if len(documents) == 1 else documents))
    else:
        click.echo(printable("\n".join(map(render, dryruns))), nl=False)


@cli.command(name="list")
def list_() -> None:
    """The bundled scenarios with their questions, and the kinds of nodes."""
    from rich.table import Table
    from rich.text import Text

    from fanlab import resources
    from fanlab.scenario.loader import load

    table = Table("scenario", "question", box=None, pad_edge=False)
    for path in sorted(resources.folder("scenarios").glob("*.yaml")):
        table.add_row(path.stem, Text(load(path)[0].scenario.question))
    console().print(table)
    click.echo(f"\nnodes: {resources.on_offer(resources.node_folders())}")


@cli.command()
def schema() -> None:
    """The JSON Schema of scenario files, for editors."""
    from fanlab.scenario.schema import json_schema

    click.echo(json_text(json_schema()))


@cli.command()
def doctor() -> None:
    """Say whether this machine can run scenarios, and what is missing."""
    from fanlab.doctor import examine

    findings = examine(Path.cwd())
    for finding in findings:
        click.echo(f"{finding.mark:4}  {finding.what}" + (f"\n      {finding.hint}" if finding.hint else ""))
    if any(finding.mark == "bad" for finding in findings):
        raise SystemExit(Exit.ENVIRONMENT)


@cli.command()
@click.argument("file", type=click.Path(path_type=Path), default="scenario.yaml")
def init(file: Path) -> None:
    """Write a scenario to start from, the demo's, to FILE (scenario.yaml); never over a file that is there."""
    from fanlab import resources

    try:
        with file.open("x", encoding="utf-8") as new:
            new.write((resources.folder("scenarios") / f"{DEMO}.yaml").read_text(encoding="utf-8"))
    except FileExistsError:
        raise EnvironmentFailure(f"{file} is there already", hint="give another name") from None
    except OSError as error:
        raise EnvironmentFailure(f"cannot write {file}: {error.strerror}") from error
    click.echo(f"{file}: try `fanlab plan {file}`, then `fanlab run {file}`")


@cli.command()
@click.argument("file")
@with_options(scenario_options)
@backend_option("process", "docker")
@click.option("--redis-url", help="Use this Redis instead of starting one (loopback only).")
def up(
    file: str, overrides: Sequence[str], seed: int | None, redis_url: str | None, backend: Literal["process", "docker"]
) -> None:
    """Start FILE's system, leave it running, and print its addresses. `fanlab down` ends it."""
    from fanlab import manual
    from fanlab.scenario.plan import make_plan
    from fanlab.scenario.redacted import secrets_of

    scenario = only_one(find_scenarios(file, overrides=overrides, seed=seed), "up").scenario
    try:
        state = interruptible(manual.up(scenario, make_plan(scenario), redis_url=redis_url, backend=backend))
    except FanlabError as error:
        error.reword(Secrets(secrets_of(scenario)).hide)
        raise
    click.echo(f"redis   {hide_urls(state.redis_url)}")
    for node in state.nodes:
        click.echo(f"{node.id:7} {node.ws_url}   {node.http_url}")
    click.echo('try: fanlab publish news "hello" · fanlab channels · fanlab numsub news · fanlab down')


@cli.command()
def down() -> None:
    """End what `fanlab up` started."""
    from fanlab import manual

    click.echo("everything that `fanlab up` started is gone" if manual.down() else "nothing is up")


@cli.command()
@click.option("--run", metavar="ID", help="Only the run whose id begins so, which is ended first if it goes on.")
@click.option("--all", "everything", is_flag=True, help="What goes on, too: runs, and what `up` has started.")
@click.option("--images", is_flag=True, help="Also images that fanlab has built and no container uses.")
@click.option("--dry-run", is_flag=True, help="Say what would go, and remove nothing.")
def sweep(run: str | None, everything: bool, images: bool, dry_run: bool) -> None:
    """Remove what runs of yours have left behind: processes, containers, networks, cgroups, folders; nobody else's.

    After fanlab has ended, however it ended, there is nothing to sweep, unless its warden was killed with it.
    """
    from fanlab.sweep import Outcome, Wanted
    from fanlab.sweep import sweep as sweep_up

    outcome = Outcome(click.echo, lambda note: click.echo(f"note: {note}", err=True))
    sweep_up(Wanted(run, everything), outcome, dry_run=dry_run, with_images=images)
    click.echo(f"{'would remove' if dry_run else 'removed'} {outcome.removed}")
    if outcome.failed:
        raise SystemExit(Exit.ENVIRONMENT)


@cli.command()
@click.argument("channel")
@click.argument("message")
def publish(channel: str, message: str) -> None:
    """Publish MESSAGE on CHANNEL of the Redis that `up` started; print how many subscribers Redis counted."""
    from fanlab import manual

    click.echo(manual.publish(channel, message))


@cli.command()
def channels() -> None:
    """The channels that have a subscriber now (PUBSUB CHANNELS)."""
    from fanlab import manual

    for channel in manual.channels():
        click.echo(printable(channel))


@cli.command()
@click.argument("names", nargs=-1, required=True, metavar="CHANNEL…")
def numsub(names: Sequence[str]) -> None:
    """How many subscribers each CHANNEL has (PUBSUB NUMSUB): nodes, not the clients behind them."""
    from fanlab import manual

    for channel, count in manual.numsub(names).items():
        click.echo(f"{printable(channel)} {count}")


def _compose(loaded: "Loaded") -> str:
    """The scenario as a Compose file that is to lie in the working directory."""
    from fanlab.scenario.plan import make_plan
    from fanlab.topology import compose

    plan = make_plan(loaded.scenario)
    return compose.render(loaded.scenario, plan, compose.look_up(plan, Path.cwd()), loaded.source)


for verb in (baseline, compare, calibrate, model_, simulate, forecast, capacity):
    cli.add_command(verb)


def main() -> None:
    """The entry point: runs a verb and turns every error into its sentence and its exit code."""
    sigterm_as_ctrl_c()
    try:
        code = cli.main(prog_name="fanlab", standalone_mode=False)
    except click.ClickException as error:
        told = io.StringIO()
        error.show(told)
        click.echo(_hidden(told.getvalue()), err=True, nl=False)
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt, asyncio.CancelledError):
        code = Exit.INTERRUPTED
    except FanlabError as error:
        error.reword(_hidden)
        click.echo(str(error) if isinstance(error, ScenarioError) else f"fanlab: {error}", err=True)
        code = error.exit_code
    except BrokenPipeError:  # `fanlab list | head`: the reader has left, which is no error of ours
        nobody_reads(sys.stdout)
        code = Exit.OK
    except Exception:  # noqa: BLE001 - the one place where a bug becomes an exit code
        import traceback

        click.echo(_hidden(traceback.format_exc()), err=True, nl=False)
        words = shlex.join(map(hide_word, sys.argv))
        click.echo(f"fanlab: that is a bug in fanlab; please report it with: {_hidden(words)}", err=True)
        code = Exit.BUG
    sys.exit(code)


def _hidden(text: str) -> str:
    """A text without the secrets of the command line and of the environment, and without what a terminal would obey."""
    secrets = Secrets([*secrets_of_words(sys.argv), *secrets_of_settings(os.environ)])
    return printable(secrets.hide(text))
