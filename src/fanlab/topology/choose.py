"""Which backend a run has."""

from typing import Literal

from fanlab.errors import EnvironmentFailure, HarnessError
from fanlab.rundir import RunDir
from fanlab.topology.backend import Backend
from fanlab.topology.ports import HOST
from fanlab.topology.reach import Reach
from fanlab.topology.targets import Targets

BackendName = Literal["process", "docker", "external", "simulate"]


def make_backend(
    name: BackendName,
    rundir: RunDir,
    *,
    redis_url: str | None,
    targets: Targets | None = None,
    reach: Reach | None = None,
    host: str = HOST,
) -> Backend:
    """The backend of that name; nothing is started yet. Raises EnvironmentFailure if it cannot use `redis_url`.

    `targets` is what external drives, `host` where a system of processes listens, `reach` what either may reach.
    """
    if name == "simulate":
        raise HarnessError("a simulated run has no system to start")
    if name == "external":
        from fanlab.topology.external import ExternalBackend

        return ExternalBackend(rundir, targets or Targets(redis=redis_url), reach or Reach())
    if name == "process":
        from fanlab.topology.processes import ProcessBackend

        return ProcessBackend(rundir, redis_url=redis_url, reach=reach, host=host)
    if redis_url is not None:
        raise EnvironmentFailure(
            "--redis-url names a Redis on 127.0.0.1, where containers cannot reach it",
            hint="leave it out, and fanlab starts one; or run without --backend docker",
        )
    from fanlab.topology.containers import DockerBackend

    return DockerBackend(rundir)
