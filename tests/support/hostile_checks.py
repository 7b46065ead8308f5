"""Hostile names through every output that shows what others wrote, and what must be true of each output."""

import contextlib
import csv
import gzip
import io
import json
import re
import unicodedata
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from unittest.mock import patch

import click
import numpy as np
from click.testing import CliRunner
from pydantic import TypeAdapter, ValidationError
from rich.cells import cell_len
from rich.console import Console

from fanlab import cli, manual, rundir
from fanlab.errors import EnvironmentFailure, NodeFailure, Problem, ScenarioError
from fanlab.ledger.events import FaultStamp
from fanlab.progress import FaultTold, Lines, PhaseBegan, Warned
from fanlab.report import explain, html, markdown
from fanlab.report.charts import FIGURES, Chart, draw_all
from fanlab.report.figures import svg
from fanlab.report.terminal import table
from fanlab.report.write import write_report
from fanlab.scenario.model import Name
from fanlab.terminal import json_text
from fanlab.trace import write_rows
from support.accounts import make_manifest
from support.histories import History
from support.hostile import hostile_report, hostile_series
from support.sample_report import sample_report

JOINERS = "\u200d\ufe0f"  # invisible, harmless, and parts of emoji
SETTLE_MS = 50
FORMULA = re.compile("^[\\s\0]*[=+\\-@\uff1d\uff0b\uff0d\uff20]")
NUMBER = re.compile(r"[-+]?\d+(\.\d+)?(e[-+]?\d+)?$")
LINKS = ("href", "src", "xlink:href", "data", "to", "from", "values")
OWN_LINKS = ("#", "data:image/png;base64,", "data:,")
SVG_TAGS = {"svg", "g", "path", "text", "tspan", "use", "image", "defs", "clipPath", "rect", "style"}


def must_be_plain(text: str, where: str) -> None:
    """Nothing that a terminal would obey, and nothing invisible that reorders what is seen; lines may end."""
    odd = {char for char in text if unicodedata.category(char)[0] == "C" and char not in "\n" + JOINERS}
    assert not odd, f"{where} holds {sorted(map(ascii, odd))}"
    text.encode()


# Pages


class Page(HTMLParser):
    """Which tags a page has, and what in it could fetch or run something."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.suspicious: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            told = f"<{tag} {name}={str(value)[:60]!r}>"
            runs = name.startswith("on") or name in ("srcdoc", "action", "formaction", "background", "ping")
            fetches = name in LINKS and not str(value).startswith(OWN_LINKS)
            paints = name == "style" and re.search(r"url\((?!#fl-)|expression|import", str(value))
            if runs or fetches or paints:
                self.suspicious.append(told)


def page_of(names: Sequence[str], folder: Path) -> str:
    """A report full of these names, its charts written to a folder."""
    summary, manifest = hostile_report(names)
    series = hostile_series(names)
    return html.render(summary, manifest, series, draw_all(series, summary, folder))


def check_page(page: str) -> None:
    """It has no tag that a harmless report has not, nothing that runs, and nothing that fetches."""
    found = Page(page)
    assert found.tags <= harmless_tags(), found.tags - harmless_tags()
    assert found.suspicious == []
    outside = re.sub(r"(?s)<svg.*?</svg>", "", page)
    must_be_plain(outside, "report.html")
    assert "Content-Security-Policy" in page


def check_in_browser(page: Any, watch: Any, path: Path) -> None:
    """A file shown by Chromium: it runs nothing, asks nothing, complains of nothing and fetches nothing but itself.

    `page` is Playwright's, `watch` a PageWatch that listens to it.
    """
    watch.errors.clear()
    watch.requests.clear()
    page.goto(path.as_uri())
    page.wait_for_timeout(SETTLE_MS)  # for what runs a moment later; nothing depends on how long that is
    assert page.evaluate("typeof window.owned") == "undefined", f"{path.name} has run a script"
    assert page.evaluate("document.querySelectorAll('script, iframe, object, embed, form, base').length") == 0
    assert watch.errors == []
    assert watch.requests == [path.as_uri()]


def harmless_tags() -> set[str]:
    """Those of the sample's report, with those of charts."""
    summary, manifest, series = sample_report()
    charts = {name: Chart(name, "t", "s", "a", "<svg></svg>", ()) for name in FIGURES}
    return Page(html.render(summary, manifest, series, charts)).tags | {tag.lower() for tag in SVG_TAGS} | {"ul", "li"}


def check_charts(folder: Path) -> None:
    """Each SVG is well-formed, draws, and links to itself alone; each CSV is no more than text to a spreadsheet."""
    files = sorted(folder.glob("*.svg"))
    assert files
    for file in files:
        root = ET.fromstring(file.read_text("utf-8"))  # noqa: S314 - our own file
        for element in root.iter():
            assert element.tag.rpartition("}")[2] in SVG_TAGS, (file.name, element.tag)
            for name, value in element.attrib.items():
                assert not name.startswith("on"), (file.name, name)
                if name.endswith("href"):
                    assert value.startswith(OWN_LINKS), (file.name, value[:60])
        for words in svg.texts(root):
            must_be_plain(words, file.name)
    for file in folder.glob("*.csv"):
        check_csv(file.read_text("utf-8"), file.name)


def check_csv(text: str, where: str) -> None:
    """Rows of one length, of which no cell is a formula."""
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert rows, where
    assert {len(row) for row in rows} == {len(rows[0])}, where
    for row in rows:
        for cell in row:
            assert not FORMULA.match(cell) or NUMBER.match(cell), f"{where}: {cell[:40]!r}"
            must_be_plain(cell, where)


def check_deliveries(names: Sequence[str], folder: Path) -> None:
    """deliveries.csv.gz with those for groups, nodes, publishers and channels that a scenario takes as names at all."""
    path, taken = folder / "deliveries.csv.gz", ["node-1", *filter(_is_name, names)]
    rows = [(0, name, name, name, name, 1, name, 1, 0, "-0.5", None, None, None, name, name) for name in taken]
    write_rows(path, rows)
    check_csv(gzip.decompress(path.read_bytes()).decode(), path.name)


def _is_name(text: str) -> bool:
    try:
        TypeAdapter(Name).validate_python(text)
    except ValidationError:
        return False
    return True


# Texts


def check_markdown(names: Sequence[str]) -> None:
    """No HTML but our folds, no code, no link, no mention, no heading but ours."""
    text = markdown.render(*hostile_report(names))
    outside = re.sub(r"(?ms)^(`{3,})sh\n.*?\n\1$", "", text)
    folds = re.compile(r"(?m)^(</?details>|<summary>[A-Z][A-Za-z ?]+</summary>)$")
    assert not re.search(r"(?<!\\)[<`]", folds.sub("", outside))
    assert not re.search(r"(?i)https?:|www\.|mailto:|(?<!\\)\]\(|@\w", outside)
    assert [line for line in outside.splitlines() if line.startswith("# ")] == [outside.splitlines()[0]]
    must_be_plain(text.replace("\N{WORD JOINER}", ""), "report.md")


def printed(*things: Any, width: int = 100) -> str:
    """What a console without colours shows."""
    out = io.StringIO()
    console = Console(file=out, width=width, color_system=None)
    for thing in things:
        console.print(thing)
    return out.getvalue()


def check_terminal(names: Sequence[str]) -> None:
    """The table at the end of a run, and what is told while it runs."""
    text = printed(table(*hostile_report(names), Path("run", *(name.replace("/", "") or "x" for name in names[:2]))))
    must_be_plain(text, "the table")
    assert max(map(cell_len, text.split("\n"))) <= 100
    out = io.StringIO()
    lines = Lines(Console(file=out, width=100, color_system=None))
    for name in names:
        lines(Warned(name))
        lines(PhaseBegan("start", "3 nodes"))
        lines(FaultTold(1.0, FaultStamp(id=0, kind="crash", target="node-1", stamp="confirmed", t=0)))
    must_be_plain(out.getvalue(), "progress")


def check_errors(names: Sequence[str]) -> None:
    """Errors of every kind, as `main` prints them."""
    for name in names:
        errors = (
            NodeFailure(f"node-1: {name}", log_tail=[name, f"x{name}"], hint=name),
            EnvironmentFailure(name, hint=name),
            ScenarioError([Problem(name, 1, 1, name, f"no: {name}", name)]),
            click.UsageError(name),
            ValueError(name),
        )
        for error in errors:
            must_be_plain(_told(error), f"an error of {name[:40]!r}")


def _told(error: BaseException) -> str:
    """What `fanlab` prints when a verb raises this."""
    told = io.StringIO()
    with (
        patch.object(cli.cli, "main", side_effect=error),
        patch("sys.stderr", told),
        patch.object(cli, "sigterm_as_ctrl_c"),
        patch("sys.argv", ["fanlab", "run"]),
        contextlib.suppress(SystemExit),
    ):
        cli.main()
    return told.getvalue()


def check_verbs(names: Sequence[str]) -> None:
    """Verbs that print what others wrote: channels of a Redis, plans of a scenario."""
    runner = CliRunner()
    with patch.object(manual, "channels", return_value=list(names)):
        must_be_plain(runner.invoke(cli.cli, ["channels"]).output, "channels")
    with patch.object(manual, "numsub", return_value=dict.fromkeys(names, 1)):
        must_be_plain(runner.invoke(cli.cli, ["numsub", "x"]).output, "numsub")
    for name in names:
        document = {"names": [name], name: {"x": name}}
        told = json_text(document)
        must_be_plain(told, "JSON")
        assert json.loads(told) == document


def check_plan(names: Sequence[str], folder: Path) -> None:
    """`fanlab plan` of scenarios whose texts and settings are these, as text and as JSON; or their refusal."""
    runner, file = CliRunner(), folder / "scenario.yaml"
    for name in names:
        quoted = json.dumps(name.encode("utf-8", "replace").decode())
        text = f"""
name: t
question: {quoted}
expect: {quoted}
topology: {{nodes: {{kind: websockets, env: {{{quoted}: {quoted}, HZ: {quoted}}}}}}}
channels: [news]
clients: [{{group: g, count: 1, channels: [news]}}]
publishers: [{{name: p, channel: news, rate: 1/s}}]
matrix: {{topology.nodes.env.HZ: [{quoted}, x]}}
"""
        file.write_text(text, "utf-8")
        for words in (["plan", str(file)], ["plan", str(file), "--json"], ["validate", str(file)]):
            must_be_plain(_invoked(runner, words), f"{words} of {name[:40]!r}")


def _invoked(runner: CliRunner, words: Sequence[str]) -> str:
    done = runner.invoke(cli.cli, words)
    if done.exception is None or isinstance(done.exception, SystemExit):
        return done.output
    assert isinstance(done.exception, ScenarioError), done.exception
    return _told(done.exception)


# A run directory


def hostile_run(names: Sequence[str], path: Path) -> "rundir.RunDir":
    """A run whose nodes, Redis and clients told these, and whose manifest names them wherever it names something."""
    channel = names[-1]
    history = History(clients=len(names), nodes=1, channels=(channel,), streams=(channel,))
    history.publish(1, at=10).publish(2, at=500)
    history.watched(-1900, 1400).listed(0, 7, -1800)
    for client, name in enumerate(names):
        at = 20 + client / len(names)
        history.subscribe(client).deliver(client, 1, at=12).close(client, at)
        history.events[-1]["reason"] = name
        history.event(at + 1, "connecting", client, node=0, attempt=0)
        history.event(at + 2, "failed", client, node=0, error=name)
        history.node_line(0, 490 + client / len(names), "redis", state=name, error=name)
        history.drop(0, 2, 501 + client / len(names), name, n=1, who=[client])
        history.redis_line(500 + client / len(names), "buffer_kill", node="node-1", name=name, addr=name, omem=1, id=7)
        history.redis_line(500 + client / len(names), name, node=name, state=name)
    history.died(0, 30).fault("crash", "node-1", 400, until=600, predicted=1)
    run = history.write(path)
    _, told = hostile_report(names)
    ours = run.read_manifest()
    kept = ("run_tag", "plan", "faults", "predictions", "phases", "unplanned_exits")
    manifest = make_manifest(**{key: ours[key] for key in kept})
    texts = ("question", "expect", "topology")
    manifest["scenario"] |= {key: told["scenario"][key] for key in texts} | {"gates": [], "name": names[0]}
    manifest["plan"]["streams"][0] |= {"publisher": names[6]}
    manifest["plan"]["groups"][0] |= {"name": names[1]}
    manifest["unplanned_exits"].append({"unit": names[2], "t_s": 0.5, "status": -9})
    manifest["fault_failures"] = [{"fault": 0, "why": name} for name in names]
    for key in ("command", "scenario_source", "redis", "host", "versions", "clock", "matrix_cell", "fanlab_version"):
        manifest[key] = told[key]
    manifest |= {"backend": names[3], "scenario_sha256": "0", "error": names[4], "started_utc": names[5]}
    manifest["journaling_nodes"] = ["node-1", *names]
    rundir.write_json(run.manifest, manifest)
    return run


def check_run(names: Sequence[str], path: Path, stories: int) -> None:
    """Its report in all formats, its losses, and the stories of some clients."""
    run = hostile_run(names, path)
    summary = write_report(run)
    check_page((path / "report.html").read_text("utf-8"))
    check_charts(run.charts)
    must_be_plain((path / "report.md").read_text("utf-8").replace("\N{WORD JOINER}", ""), "report.md")
    must_be_plain(printed(table(summary, run.read_manifest(), path / "report.html")), "the table")
    must_be_plain(json_text(summary), "summary.json as printed")
    found, total = explain.some_losses(run)
    must_be_plain(explain.render_losses(found, total, "RUN"), "the losses")
    must_be_plain(json_text(found), "the losses as JSON")
    for client in np.linspace(0, len(names) - 1, stories).astype(int).tolist():
        for seq in (1, 2):
            for story in explain.stories(run, str(client), seq):
                must_be_plain(explain.render(story), "a story")
                must_be_plain(json_text(story.to_json()), "a story as JSON")
    for wrong in names[:stories]:
        try:
            explain.stories(run, wrong, 1)
        except ScenarioError as error:
            must_be_plain(str(error), "a refusal")


def batches(names: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """The names, so many at a time."""
    for at in range(0, len(names), size):
        yield names[at : at + size]
