"""`make fuzz`: hostile inputs by the thousand, made from numbers; what must be true of fanlab and of its node.

One line per part or piece of one; the last line is `N passed, 0 failed`. Exit 1 if any failed. The parts:

    files     scenario files, good ones and broken ones: refused in good order or planned, each within a second of CPU
    peers     malformed WebSocket handshakes, frames and messages at the reference node: it lives, forgets, serves on
    secrets   canaries in URLs, settings and environment, told to all by leaky nodes: nowhere in the run directory
    names     names that try to be more, through every output; pages and charts in a real Chromium, where there is one

Some of each is in the test suite; here is the whole of it.
"""

import argparse
import asyncio
import importlib.util
import multiprocessing
import os
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import conftest
from support import canary, hostile_checks
from support.hostile_names import names
from support.node_process import NodeProcess
from support.scenario_files import case
from support.scenario_trial import Overdue, examine
from support.siege import siege

CHUNK = 250  # files that a worker takes at a time
SILENCE_S = 300.0  # from no chunk for so long it follows that a worker hangs where no alarm reaches it
JOBS = 2
SHOWN = 10  # failures of a part
BATCH = 50  # names on a page


class Line(NamedTuple):
    """What one piece of a part came to."""

    name: str
    ok: bool
    told: str


@dataclass(slots=True)
class Chunk:
    """What became of some files."""

    good: int = 0
    runs: int = 0
    refused: int = 0
    slowest_s: float = 0.0
    failures: list[str] = field(default_factory=list)


# Scenario files


def files(options: argparse.Namespace) -> Iterator[Line]:
    """Every file of a range, by two processes at most."""
    total, first = Chunk(), options.first
    starts = range(first, first + options.files, CHUNK)
    ranges = [(start, min(start + CHUNK, first + options.files)) for start in starts]
    began = time.monotonic()
    with multiprocessing.get_context("spawn").Pool(min(JOBS, os.cpu_count() or 1)) as pool:
        done = pool.imap_unordered(_examine, ranges)
        for number in range(len(ranges)):
            try:
                chunk = done.next(SILENCE_S)
            except multiprocessing.TimeoutError:
                total.failures.append(f"no word for {SILENCE_S:g} s: a file hangs where no alarm reaches it")
                pool.terminate()
                break
            total.good += chunk.good
            total.runs += chunk.runs
            total.refused += chunk.refused
            total.slowest_s = max(total.slowest_s, chunk.slowest_s)
            total.failures += chunk.failures
            if sys.stderr.isatty():
                print(f"\r{number + 1} of {len(ranges)} chunks", end="\r", file=sys.stderr, flush=True)
    told = (
        f"{options.files:,} files: {total.good:,} good, planned as {total.runs:,} runs; {total.refused:,} refused in"
        f" good order; {len(total.failures)} not as they must be; at most {total.slowest_s:.2f} s of CPU for a file and"
        f" all its plans; {time.monotonic() - began:.0f} s"
    )
    ok = not total.failures and total.good + total.refused == options.files and total.good > 0 and total.refused > 0
    yield Line("files", ok, "\n".join([told, *total.failures[:SHOWN]]))


def _examine(numbers: tuple[int, int]) -> Chunk:
    chunk = Chunk()
    with tempfile.TemporaryDirectory(prefix="fanlab-fuzz-") as folder:
        for number in range(*numbers):
            began_s = time.process_time()
            try:
                runs = examine(case(number), Path(folder))
            except (Exception, Overdue) as error:  # noqa: BLE001 - whatever it is, it is to be told
                chunk.failures.append(f"file {number}: {_where(error)}")
                continue
            chunk.slowest_s = max(chunk.slowest_s, time.process_time() - began_s)
            chunk.good += runs > 0
            chunk.refused += runs == 0
            chunk.runs += runs
    return chunk


# Peers


def peers(options: argparse.Namespace) -> Iterator[Line]:
    """A real node on a real Redis, attacked."""
    with tempfile.TemporaryDirectory(prefix="fanlab-fuzz-") as scratch:
        folder = Path(scratch)
        redis = conftest.RealRedis(_redis(), folder)
        node = NodeProcess(conftest.free_port(), redis.url, folder)
        try:
            redis.start()
            node.start()
            served = asyncio.run(siege(node, range(options.peers)))
        finally:
            node.kill()
            redis.kill()
    told = (
        f"{options.peers} attacks of {len(served.kinds)} kinds; {served.sent} messages, each at every good client;"
        f" grown by {served.grown_bytes / 2**20:.1f} MiB"
    )
    yield Line("peers", ok=True, told=told)


# Secrets


def secrets(_: argparse.Namespace) -> Iterator[Line]:
    """A run for each way in which one may end."""
    for name, end in canary.ENDS.items():
        with (
            tempfile.TemporaryDirectory(prefix="fl-") as temporary,
            tempfile.TemporaryDirectory(prefix="fanlab-fuzz-") as folder,
        ):
            nest = canary.Nest(Path(folder), Path(temporary), _redis())
            yield _piece(f"secrets {name}", partial(end, nest), end.__doc__ or "")


def _redis() -> str:
    found = conftest.redis_server_path()
    if found is None:
        raise SystemExit("no redis-server: install one, or the extra fanlab[redis-server]")
    return found


# Names


def hostile(options: argparse.Namespace) -> Iterator[Line]:
    """All names through all outputs."""
    all_names = names(options.names)
    batches = list(hostile_checks.batches(all_names, BATCH))
    with tempfile.TemporaryDirectory(prefix="fanlab-fuzz-") as scratch:
        folder = Path(scratch)
        pieces: dict[str, Callable[[], object]] = {
            "Markdown": lambda: [hostile_checks.check_markdown(batch) for batch in batches],
            "terminal": lambda: [hostile_checks.check_terminal(batch) for batch in batches],
            "errors": lambda: hostile_checks.check_errors(all_names),
            "verbs": lambda: hostile_checks.check_verbs(all_names),
            "plans": lambda: hostile_checks.check_plan(all_names, folder),
            "CSV": lambda: hostile_checks.check_deliveries(all_names, folder),
            "runs": lambda: [
                hostile_checks.check_run(batch, folder / f"run-{number}", stories=len(batch))
                for number, batch in enumerate(batches)
            ],
        }
        for name, check in pieces.items():
            yield _piece(f"names {name}", check, f"{len(all_names)} names")
        yield _pages(batches, folder)


def _pages(batches: Sequence[Sequence[str]], folder: Path) -> Line:
    """Pages and charts, looked at and shown."""
    path = conftest.chromium_path()
    if path is None or importlib.util.find_spec("playwright") is None:
        return Line(
            "names pages", ok=False, told="no Chromium: install chromium and playwright, or set FANLAB_CHROMIUM"
        )
    from playwright.sync_api import sync_playwright

    shown: Counter[str] = Counter()

    def show() -> None:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=path, args=list(conftest.CHROMIUM_FLAGS))
            page, watch = browser.new_page(), conftest.PageWatch()
            watch.attach(page)
            for number, batch in enumerate(batches):
                charts = folder / f"charts-{number}"
                text = hostile_checks.page_of(batch, charts)
                hostile_checks.check_page(text)
                hostile_checks.check_charts(charts)
                (charts / "report.html").write_text(text, "utf-8")
                for file in [charts / "report.html", *charts.glob("*.svg")]:
                    hostile_checks.check_in_browser(page, watch, file)
                    shown[file.suffix] += 1
            browser.close()

    return _piece("names pages", show, lambda: f"{shown['.html']} pages and {shown['.svg']} charts in Chromium")


def _piece(name: str, check: Callable[[], object], told: str | Callable[[], str]) -> Line:
    try:
        check()
    except Exception as error:  # noqa: BLE001 - whatever it is, this piece has failed; the others go on
        return Line(name, ok=False, told=_where(error))
    return Line(name, ok=True, told=told() if callable(told) else told)


def _where(error: BaseException) -> str:
    """An error in a line, and where it was raised."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    told = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    return f"{told} ({Path(last.filename).name}:{last.lineno})"


PARTS: dict[str, Callable[[argparse.Namespace], Iterator[Line]]] = {
    "files": files,
    "peers": peers,
    "secrets": secrets,
    "names": hostile,
}


def main() -> int:
    """Run what the command line asks for; 0 where all is as it must be."""
    options = _options()
    lines: list[Line] = []
    for part in options.parts or PARTS:
        try:
            for line in PARTS[part](options):
                _show(line)
                lines.append(line)
        except Exception as error:  # noqa: BLE001 - as above
            lines.append(Line(part, ok=False, told=_where(error)))
            _show(lines[-1])
    failed = sum(not line.ok for line in lines)
    print(f"{len(lines) - failed} passed, {failed} failed")
    return 1 if failed or not lines else 0


def _show(line: Line) -> None:
    print(f"{'ok  ' if line.ok else 'FAIL'}  {line.name:<17}  {line.told}", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help="which parts; by default all")
    parser.add_argument("--files", type=int, default=100_000, metavar="N", help="scenario files")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="the number of the first of them")
    parser.add_argument("--peers", type=int, default=300, metavar="N", help="attacks on the node")
    parser.add_argument("--names", type=int, default=500, metavar="N", help="hostile names")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
