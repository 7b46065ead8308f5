"""`make kills`: fanlab is ended at random instants, by every signal there is, and nothing of the run is left behind.

A line per case, the last line is `N passed, 0 failed`; exit 1 if any failed. A run that was over before it was to be
killed has not passed, and is tried again, as the share of the time that runs take by then; the last line counts it. On
each backend, over a run that has every phase, several faults at once, and nodes that leave daemons behind:

    end          by itself; how long that takes says how the instants below are spread
    kill N       SIGKILL, in the Nth of so many equal slices of the run, at an instant drawn from the seed
    SIGINT, SIGTERM          while a node is frozen and another cut off: it heals both and reports what there is
    SIGINT, SIGTERM twice    the second one ends it at once
    warden       SIGKILL to the warden: fanlab ends what is left, and reports
    both         SIGKILL to both, and then `fanlab sweep`
    adopted …    (process backend) SIGKILL while a setting of somebody's Redis is changed: it gets it back; SIGKILL to
                 fanlab and the keeper, and then `fanlab sweep`
    worker       (process backend) SIGKILL to a `fanlab worker` that waits for its run, and then `fanlab sweep`

5 s (containers: 30 s) afterwards there are no processes, containers, networks, volumes, cgroups, temporary folders and
iptables rules of the run; its directory can be reported on; bystanders, who look as like it as can be, are untouched.
"""

import argparse
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fanlab.seed import rng
from support.killing import (
    Case,
    adopted,
    both,
    both_killed,
    ends_by_itself,
    engine,
    fanlab,
    interrupted,
    interrupted_twice,
    keeper_killed,
    killed_at,
    new_case,
    warden_killed,
    worker_killed,
)

USUAL_S = 20.0  # about the length of a run


def main() -> int:
    """Do what the command line asks for; 0 where every case passed."""
    options = _options()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that it leaves nothing behind itself
    outcomes: Counter[str] = Counter()
    for backend in options.backends:
        api, image = engine() if backend == "docker" else (None, "")
        took_s = [options.run_s or USUAL_S]
        for name, what in _cases(backend, options, took_s):
            if options.only not in name:
                continue
            with new_case(backend, api, image) as case:
                try:
                    what(case)
                except Exception as error:  # noqa: BLE001 - a case that cannot be done has failed, and the next goes on
                    traceback.print_exc()
                    case.problems.append(f"{type(error).__name__}: {error}")
                if case.problems and case.log.exists():
                    case.said.append(f"log: {case.log.read_text()[-400:]!r}")
            verdict = f"FAILED: {'; '.join(case.problems)}" if case.problems else "ok" if case.killed else "not killed"
            print(f"{backend:<8} {name:<26} {verdict}  ({'; '.join(case.said)})", flush=True)
            outcomes["failed" if case.problems else "passed" if case.killed else "not killed"] += 1
    late = f"{outcomes['not killed']} not killed, " if outcomes["not killed"] else ""
    print(f"{late}{outcomes['passed']} passed, {outcomes['failed']} failed")
    return 1 if outcomes["failed"] else 0


def _cases(
    backend: str, options: argparse.Namespace, took_s: list[float]
) -> Iterator[tuple[str, Callable[[Case], object]]]:
    """Each with its name. The first one finds out how long a run takes, unless that is told."""
    if options.run_s is None and backend == "docker":
        yield "images", ends_by_itself  # are made by the first run, and found by the others
    if options.run_s is None:
        yield "end", lambda case: took_s.append(ends_by_itself(case))
    first, last = options.kills
    for number in range(first, min(last, options.times)):
        share = (number + rng(options.seed, "kill", backend, number).random()) / options.times
        for again in ("", " again", " at last"):
            tried = len(took_s)
            yield f"kill {number + 1}{again}", killed_at(share, took_s)
            if len(took_s) == tried:  # and not over before it was to be killed
                break
    for signum in (signal.SIGINT, signal.SIGTERM):
        yield signum.name, interrupted(signum)
        yield f"{signum.name} twice", interrupted_twice(signum)
    yield "warden", warden_killed
    yield "both", both_killed
    if backend == "process":
        for who, victims in (("fanlab", fanlab), ("both", both)):
            yield f"adopted buffer {who}", adopted("redis-output-buffer", victims, limit="64kB")
            yield f"adopted maxclients {who}", adopted("redis-maxclients", victims)
        yield "adopted keeper", keeper_killed
        yield "worker", worker_killed


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backends", nargs="+", default=["process"], choices=["process", "docker"])
    parser.add_argument("--times", type=int, default=50, help="into how many slices a run is divided")
    parser.add_argument("--kills", type=_range, default=(0, 10**6), metavar="A:B", help="only these of them, from 0")
    parser.add_argument("--only", default="", help="cases with this in their name")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--run-s", type=float, help="how long a run takes here; else one is tried")
    return parser.parse_args()


def _range(text: str) -> tuple[int, int]:
    first, _, last = text.partition(":")
    return int(first), int(last)


if __name__ == "__main__":
    sys.exit(main())
