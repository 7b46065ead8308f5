"""Which backend a run has."""

from typing import Literal

from fanlab.errors import EnvironmentFailure
from fanlab.rundir import RunDir
from fanlab.topology.backend import Backend

BackendName = Literal["process", "docker"]


def make_backend(name: BackendName, rundir: RunDir, *, redis_url: str | None) -> Backend:
    """The backend of that name; nothing is started yet. Raises EnvironmentFailure if it cannot use `redis_url`."""
    if name == "process":
        from fanlab.topology.processes import ProcessBackend

        return ProcessBackend(rundir, redis_url=redis_url)
    if redis_url is not None:
        raise EnvironmentFailure(
            "--redis-url names a Redis on 127.0.0.1, where containers cannot reach it",
            hint="leave it out, and fanlab starts one; or run without --backend docker",
        )
    from fanlab.topology.containers import DockerBackend

    return DockerBackend(rundir)
