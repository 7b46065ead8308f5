"""`make selftest`: plants faults whose truth is known, in real systems, and sees whether fanlab tells that truth.

One line per planted case; the last line is `N passed, 0 failed`. Exit 1 if any failed. The parts:

    proxy       a lying proxy loses, duplicates, reorders or corrupts exactly K messages: exactly those must be found
    saboteurs   servers with one real-world fault each, under nodes/saboteurs: each must be caught, with the right cause
    good        the good node, in steady and in broken systems: no alarm
    causes      each cause of a loss planted alone and in pairs, on nodes with a journal and without
    copies      messages published twice, or sent twice by Redis' side: found, and put down to that
    latency     injected delays are recovered; a freeze gives the percentile that theory gives
    overload    a generator that cannot keep up makes the run invalid

Every run is judged by the second checker, in SQL, too; a line fails where the two differ.
"""

import argparse
import json
import os
import re
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from itertools import chain
from multiprocessing import get_context
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import causes
import copies
import good
import latency
import overload
import proxy
import saboteurs
from lines import Batch, Line

PARTS = {
    "proxy": proxy.batches,
    "saboteurs": saboteurs.batches,
    "good": good.batches,
    "causes": causes.batches,
    "copies": copies.batches,
    "latency": latency.batches,
    "overload": overload.batches,
}


def main() -> int:
    """Run what the command line asks for; 0 where every case passed."""
    options = _options()
    chosen = [
        batch
        for part in options.parts or PARTS
        for batch in PARTS[part](quick=options.quick)
        if options.only in batch.name
    ]
    began = time.monotonic()
    lines: list[Line] = []
    with (
        tempfile.TemporaryDirectory(prefix="fanlab-selftest-") as scratch,
        ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool,
    ):
        outs = [(options.keep or Path(scratch)) / name for name in _folders(chosen)]
        jobs = list(zip(chosen, outs, strict=True))
        together = pool.map(_run, *_columns([job for job in jobs if not job[0].alone]))
        alone = (pool.submit(_run, *job).result() for job in jobs if job[0].alone)
        for found in chain(together, alone):  # the latter begin when the former have ended
            lines += found
            _show(found)
    lines += (total := causes.totals(lines))
    _show(total)
    if options.json:
        options.json.write_text(json.dumps([asdict(line) for line in lines], indent=1) + "\n", encoding="utf-8")
    judged = [line for line in lines if line.crosscheck is not None]
    failed = sum(not line.ok for line in lines)
    print(
        f"the SQL checker agrees on {sum(bool(line.crosscheck) for line in judged)} of {len(judged)} cases;"
        f" {time.monotonic() - began:.0f} s"
    )
    print(f"{len(lines) - failed} passed, {failed} failed")
    return 1 if failed or not lines else 0


def _show(lines: Sequence[Line]) -> None:
    for line in lines:
        print(f"{'ok  ' if line.ok else 'FAIL'}  {line.name:<46}  {line.told}", flush=True)


def _folders(batches: Sequence[Batch]) -> list[str]:
    """A name for each, the same whenever it is run; several batches of one name are numbered."""
    names = [re.sub(r"[^a-zA-Z0-9]+", "-", batch.name).strip("-") for batch in batches]
    return [f"{name}-{names[: at + 1].count(name)}" for at, name in enumerate(names)]


def _columns(jobs: Sequence[tuple[Batch, Path]]) -> tuple[list[Batch], list[Path]]:
    return [batch for batch, _ in jobs], [out for _, out in jobs]


def _run(batch: Batch, out: Path) -> Sequence[Line]:
    try:
        return batch.run(out)
    except Exception as error:  # noqa: BLE001 - whatever it is, this case did not pass; the others go on
        where = traceback.extract_tb(error.__traceback__)[-1]
        told = f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
        return [Line(batch.name, ok=False, told=" ".join(told.split()))]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="selftest", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help="which parts; by default all")
    parser.add_argument("--quick", action="store_true", help="a subset of under five minutes")
    parser.add_argument("--only", default="", metavar="TEXT", help="batches whose name holds this text")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="runs at a time; some are alone")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the lines as JSON, too")
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="keep the runs here; judge those again that are there"
    )
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
