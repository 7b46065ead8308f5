"""Removing a run's containers, networks and volumes by their labels: `python -m fanlab.topology.sweeping --run ID`.

The warden runs it when it ends, whatever became of fanlab. An engine finishes what a client asked for even if the
client has died, so while its maker is dead one look is not enough: it looks until nothing has come for a while.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import requests
from docker.errors import DockerException, NotFound

from fanlab.errors import EnvironmentFailure
from fanlab.topology.engine import connect
from fanlab.topology.labels import OWNER, RUN, USER, Marks, Owner

LOOK_S: Final = 0.25
QUIET_S: Final = 3.0  # an orphaned call to the engine has come to its end by then
DEADLINE_S: Final = 25.0  # connecting included; the warden gives it AT_END_S
CONNECT_S: Final = 10.0
_AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True)
class Found:
    """An object of an engine that bears a run's label."""

    kind: str  # container, network or volume
    id: str
    name: str
    run_id: str
    owner: str
    user: str = ""

    @property
    def title(self) -> str:
        """`network fanlab-1f2e3d4c-network`."""
        return f"{self.kind} {self.name}"

    @property
    def marks(self) -> Marks | None:
        """Whose it is; None: its labels cannot be read."""
        try:
            return Marks(self.run_id, Owner.parse(self.owner))
        except ValueError:
            return None

    def orphaned(self) -> bool:
        """Whether the process that answers for it is gone. One that is nobody's is left alone."""
        return self.marks is not None and self.marks.owner.gone()


def find(api: Any, run_id: str | None = None) -> list[Found]:
    """All that one run, or any, has at the engine: containers first, which hold the others."""
    label = {"label": RUN if run_id is None else f"{RUN}={run_id}"}
    found = [
        _found("container", each["Id"], each["Names"][0].lstrip("/") if each["Names"] else each["Id"], each["Labels"])
        for each in api.containers(all=True, filters=label)
    ]
    found += [_found("network", each["Id"], each["Name"], each["Labels"]) for each in api.networks(filters=label)]
    volumes = api.volumes(filters=label)["Volumes"] or []
    return found + [_found("volume", each["Name"], each["Name"], each["Labels"]) for each in volumes]


def remove(api: Any, found: Iterable[Found]) -> list[tuple[Found, str | None]]:
    """Remove them, containers before what they hold; returns them in that order, and why one is still there."""
    found = list(found)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return [
            each
            for kind in ("container", "network", "volume")
            for each in pool.map(lambda one: (one, _remove(api, one)), [one for one in found if one.kind == kind])
        ]


def sweep(api: Any, run_id: str, *, quiet_s: float, deadline_s: float = DEADLINE_S) -> list[str]:
    """Look for what a run has, and remove it, until nothing has come for `quiet_s`; as `sweep_found` does."""
    return sweep_found(api, lambda: find(api, run_id), quiet_s=quiet_s, deadline_s=deadline_s)


def sweep_found(
    api: Any,
    find_them: Callable[[], list[Found]],
    *,
    quiet_s: float,
    deadline_s: float = DEADLINE_S,
    tell: Callable[[Found], None] = lambda _: None,
) -> list[str]:
    """Look and remove until nothing has come for `quiet_s`; returns what is still there at the deadline, and why.

    `tell` is called for each object that was removed.
    """
    end = time.monotonic() + deadline_s
    seen = time.monotonic()
    while True:
        found = find_them()
        complaints: list[str] = []
        for each, complaint in remove(api, found):
            if complaint is None:
                tell(each)
            else:
                complaints.append(f"{each.title}: {complaint}")
        now = time.monotonic()
        if found:
            seen = now
        elif now - seen >= quiet_s:
            return []
        if now >= end:
            return complaints or [f"{each.title}: made again and again" for each in found]
        if not found or complaints:
            time.sleep(LOOK_S)


def _found(kind: str, id_: str, name: str, labels: dict[str, str] | None) -> Found:
    labels = labels or {}
    return Found(kind, id_, name, labels.get(RUN, ""), labels.get(OWNER, ""), labels.get(USER, ""))


def _remove(api: Any, found: Found) -> str | None:
    calls: dict[str, Callable[[], Any]] = {
        "container": lambda: api.remove_container(found.id, force=True, v=True),
        "network": lambda: api.remove_network(found.id),
        "volume": lambda: api.remove_volume(found.id, force=True),
    }
    try:
        calls[found.kind]()
    except NotFound:
        return None
    except (DockerException, requests.RequestException) as error:
        return str(error)
    return None


def main(argv: Sequence[str] | None = None) -> int:
    """0 when nothing of the run is left; 1, and why on stderr, otherwise."""
    parser = argparse.ArgumentParser(description="Removes what a run left at the Docker engine; its warden starts it.")
    parser.add_argument("--run", required=True, help="the run's id, as in the label fanlab.run")
    parser.add_argument("--maker", required=True, help="the process that may still be making things, as PID:TICKS:BOOT")
    arguments = parser.parse_args(argv)
    quiet_s = 0.0 if Owner.parse(arguments.maker).alive() else QUIET_S  # alive, it waits for us and makes nothing
    end = time.monotonic() + DEADLINE_S
    try:
        api = connect(timeout_s=CONNECT_S).api
        left = sweep(api, arguments.run, quiet_s=quiet_s, deadline_s=end - time.monotonic())
    except (EnvironmentFailure, DockerException, requests.RequestException) as error:
        left = [str(error)]
    for complaint in left:
        sys.stderr.write(f"run {arguments.run}: {complaint}\n")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
