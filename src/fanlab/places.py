"""Where runs are put when nobody says where: reports/runs/<scenario>/<utc>, with `latest` pointing at the newest."""

from pathlib import Path

from fanlab.clock import utc_stamp
from fanlab.errors import EnvironmentFailure

RUNS = Path("reports") / "runs"


def new_place(scenario: str, runs: Path = RUNS) -> Path:
    """Make a directory of its own for a run of `scenario`, and point `latest` at it.

    A second run within a second gets `<utc>-2`, and so on. Raises EnvironmentFailure where nothing can be made.
    """
    home, stamp = runs / scenario, utc_stamp()
    try:
        home.mkdir(parents=True, exist_ok=True)
        number = 1
        while True:
            place = home / (stamp if number == 1 else f"{stamp}-{number}")
            try:
                place.mkdir()
                break
            except FileExistsError:
                number += 1
    except OSError as error:
        raise EnvironmentFailure(
            f"cannot make a run directory under {home}: {error.strerror}", hint="give a writable one with --out"
        ) from error
    _point_latest(place)
    return place


def _point_latest(place: Path) -> None:
    """`latest` -> `place`; a convenience, so a file system without links goes without."""
    link = place.parent / "latest"
    try:
        link.unlink(missing_ok=True)
        link.symlink_to(place.name, target_is_directory=True)
    except OSError:
        return
