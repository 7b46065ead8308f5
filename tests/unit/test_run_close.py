"""The end of a run, where ending its system fails: its secrets are masked all the same."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fanlab.errors import EnvironmentFailure
from fanlab.redaction import Secrets
from fanlab.run import _close

SECRET = "hunter22-in-a-url"


class Failing:
    """Something that cannot be closed, and says so with a secret in it."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error
        self.closed = False

    async def close(self) -> None:
        self.closed = True
        if self.error:
            raise self.error


@pytest.mark.parametrize("who", ["remotes", "backend"])
@pytest.mark.parametrize("error", [EnvironmentFailure(f"no copy of {SECRET}", hint=SECRET), RuntimeError("a bug")])
async def test_what_is_left_is_masked_though_the_end_has_failed(tmp_path: Path, who: str, error: BaseException) -> None:
    log = tmp_path / "nodes" / "node-1.log"
    log.parent.mkdir()
    log.write_text(f"connects to {SECRET}\n")
    remotes = Failing(error if who == "remotes" else None)
    backend = Failing(error if who == "backend" else None)
    request = SimpleNamespace(rundir=SimpleNamespace(path=tmp_path))
    this: Any = SimpleNamespace(
        remotes=remotes, backend=backend, secrets=Secrets([SECRET]), request=request, notify=pytest.fail
    )
    with pytest.raises(type(error)) as caught:
        await _close(this)
    assert (remotes.closed, backend.closed) == (True, True)
    assert SECRET not in str(caught.value)
    assert SECRET not in log.read_text()
