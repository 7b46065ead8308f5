"""The keeper's process, which gives a Redis that is not ours its settings back: `-m fanlab.faults.redis_keeper`.

It is connected before the first fault is done, because redis-maxclients may let nobody in afterwards. It notes what the
settings are, says `kept`, and waits: for the end of its standard input, which its harness holds and every death of a
harness closes, or for SIGTERM. Then a setting that still has a fault's value gets the one it had, and the keeper ends.
A folder with its marks, where temporary folders are, goes with it, unless something has not been given back: by that
folder `fanlab sweep` finds what is to be done. Its environment, never its arguments, tells it the Redis' URL, and as
JSON which values the faults give which setting.

It journals to `--journal FILE`, a JSON line each; times are CLOCK_MONOTONIC, ns:

    {"t", "ev": "keep", "redis", "setting", "had", "given"}    before any fault; `redis` without its password
    {"t", "ev": "back", "setting", "to"}                       it had a fault's value, and has this one again
    {"t", "ev": "untouched", "setting", "is"}                  it had none of a fault's
    {"t", "ev": "failed", "setting", "why"}
"""

import argparse
import json
import os
import select
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from fanlab.topology.labels import Marks
from fanlab.topology.private import own_private_folder
from fanlab.topology.redis import redact

URL_VARIABLE: Final = "FANLAB_KEEPER_REDIS_URL"
GIVEN_VARIABLE: Final = "FANLAB_KEEPER_GIVEN"
READY: Final = b"kept\n"
GIVE_BACK_S: Final = 4.0
_ANSWER_S: Final = 2.0
_AGAIN_S: Final = 0.05
_OUTPUT_BUFFERS: Final = "client-output-buffer-limit"


def part(name: str, value: str) -> str:
    """What of a setting's value a fault changes: of the limits of output buffers those of subscribers, else all."""
    if name != _OUTPUT_BUFFERS:
        return value
    words = value.split()
    at = words.index("pubsub")
    return " ".join(words[at : at + 4])


def open_redis(url: str) -> "Redis":
    """A client that is connected, and that tries each command once. Raises RedisError."""
    return Redis.from_url(
        url, decode_responses=True, single_connection_client=True, socket_timeout=_ANSWER_S, retry=Retry(NoBackoff(), 0)
    )


def look(redis: "Redis", name: str) -> str:
    """The part of a setting that a fault changes, as it is now. Raises RedisError, or ValueError if there is none."""
    found: dict[str, str] = redis.config_get(name)  # type: ignore[assignment]  # of a client that does not await
    if name not in found:
        raise ValueError(f"this Redis has no setting {name}")
    return part(name, str(found[name]))


def to_give_back(now: str, had: str, given: Sequence[str]) -> bool:
    """Whether it still has a fault's value; else it has its own, or somebody else's."""
    return now != had and now in given


def give_back(redis: "Redis", name: str, had: str, given: Sequence[str]) -> tuple[str, dict[str, str]]:
    """Set it to what it had, if it still has what a fault gave it; returns what to journal. Raises as `look` does."""
    now = look(redis, name)
    if not to_give_back(now, had, given):
        return "untouched", {"is": now}
    redis.config_set(name, had)
    return "back", {"to": had}


def main() -> int:
    """0: every setting is as it was, or as somebody else has set it since; 1 and a line on stderr: one is not."""
    parser = argparse.ArgumentParser(description="Keeps an adopted Redis' settings; a run starts it.")
    parser.add_argument("--journal", type=Path, required=True)
    arguments = parser.parse_args()
    wake, waker = socket.socketpair()
    waker.settimeout(0)
    signal.set_wakeup_fd(waker.fileno())
    signal.signal(signal.SIGTERM, lambda *_: None)  # the wake-up descriptor does it
    given: dict[str, list[str]] = json.loads(os.environ[GIVEN_VARIABLE])
    url = os.environ[URL_VARIABLE]
    folder = _signed(arguments.journal)
    fd = os.open(arguments.journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

    def journal(event: str, **told: Any) -> None:
        os.write(fd, json.dumps({"t": time.monotonic_ns(), "ev": event, **told}).encode() + b"\n")

    try:
        redis = open_redis(url)
        had = {name: look(redis, name) for name in given}
        for name, value in had.items():
            journal("keep", redis=redact(url), setting=name, had=value, given=given[name])
    except (RedisError, OSError, ValueError) as error:
        sys.stderr.write(f"the settings of {redact(url)} cannot be kept: {error}\n")
        shutil.rmtree(folder)
        return 1
    os.write(sys.stdout.fileno(), READY)
    select.select([sys.stdin, wake], [], [])
    signal.setitimer(signal.ITIMER_REAL, GIVE_BACK_S + 1)  # whatever hangs then: it ends
    if not _all_back(redis, had, given, journal):
        return 1
    shutil.rmtree(folder)
    return 0


def _signed(journal: Path) -> Path:
    """A folder that says whose keeper this is, and where its journal stands."""
    marks = Marks.of_env(os.environ)
    if marks is None:
        raise SystemExit("its environment does not say whose keeper it is: a run starts it")
    return own_private_folder(replace(marks, directory=str(journal.absolute().parent)))


def _all_back(
    redis: "Redis", had: Mapping[str, str], given: Mapping[str, Sequence[str]], journal: Callable[..., None]
) -> bool:
    """Give all of them back, again and again while Redis does not answer or lets nobody in; False at the deadline."""
    end = time.monotonic() + GIVE_BACK_S
    left = dict(had)
    while True:
        failures: dict[str, str] = {}
        for name, value in list(left.items()):
            try:
                event, told = give_back(redis, name, value, given[name])
            except (RedisError, OSError, ValueError) as error:
                failures[name] = str(error)
            else:
                del left[name]
                journal(event, setting=name, **told)
        if not left:
            return True
        if time.monotonic() >= end:
            break
        time.sleep(_AGAIN_S)
    for name, why in failures.items():
        journal("failed", setting=name, why=why)
        sys.stderr.write(f"{name} cannot be set back to {had[name]!r}: {why}\n")
    return False


if __name__ == "__main__":
    sys.exit(main())
