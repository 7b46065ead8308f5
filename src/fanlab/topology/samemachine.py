"""Whether an engine's containers are on this machine, under this boot's clock, and see its files."""

from pathlib import Path
from typing import Any, Final

from fanlab import clock
from fanlab.errors import EnvironmentFailure
from fanlab.topology.containerspec import ContainerSpec, Mount
from fanlab.topology.engine import LOCAL_ONLY

_LOOK: Final = 'cat /proc/sys/kernel/random/boot_id "$0" && echo written >> "$0"'
_BEFORE: Final = "seen\n"
_AFTER: Final = "seen\nwritten\n"
_SHOWN_CHARS: Final = 200


def look_from(place: Path, image: str, **common: Any) -> ContainerSpec:
    """The container that looks: it tells its boot id, and reads and appends to the file `place`."""
    place.write_text(_BEFORE, encoding="ascii")
    argv = ("sh", "-c", _LOOK, str(place))
    return ContainerSpec(image=image, argv=argv, mounts=(Mount(place, str(place)),), **common)


def judge(place: Path, said: str) -> None:
    """Raises EnvironmentFailure unless what the container said and wrote shows that it was here."""
    lines = said.split()
    if lines[:1] != [clock.boot_id()]:
        raise EnvironmentFailure(
            "the Docker engine is not on this machine: its containers run by another kernel's clock, so that nobody"
            f" could tell how late anything was (they said: {said.strip()[-_SHOWN_CHARS:]!r})",
            hint=LOCAL_ONLY,
        )
    if lines[1:] != _BEFORE.split() or place.read_text(encoding="ascii") != _AFTER:
        raise EnvironmentFailure(
            f"the Docker engine's containers cannot read and write {place.parent} as it is here, so no journal would"
            f" come back (they said: {said.strip()[-_SHOWN_CHARS:]!r})",
            hint="put the run with --out where the engine sees it, and run fanlab on the engine's own machine, not"
            " inside a container",
        )


def run_once(api: Any, body: dict[str, Any], name: str) -> str:
    """Run a container to its end and remove it; returns what it said. Raises the SDK's errors."""
    made = api.create_container_from_config(body, name)["Id"]
    try:
        api.start(made)
        api.wait(made, timeout=60)
        return str(api.logs(made).decode("utf-8", "replace"))
    finally:
        api.remove_container(made, force=True, v=True)
