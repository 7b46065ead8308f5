"""What a run is asked for, and what its phases share: the plan, the system, the manifest, the secrets."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from secrets import randbelow
from typing import Any

from fanlab import __version__, clock, provenance
from fanlab.beyond import Beyond
from fanlab.faults.inject import FaultFailure
from fanlab.faults.timeline import PlannedFault, resolve
from fanlab.load.remotes import Remotes
from fanlab.predict import predict
from fanlab.progress import Event, Listener, Warned
from fanlab.redaction import Secrets, hide_in_files, secrets_of_settings, secrets_of_url, secrets_of_words, texts_in
from fanlab.rundir import RunDir, write_json
from fanlab.scenario.loader import Loaded
from fanlab.scenario.model import Scenario
from fanlab.scenario.plan import Plan, make_plan
from fanlab.scenario.redacted import redacted, secrets_of
from fanlab.topology.backend import Backend, RedisEndpoint
from fanlab.topology.choose import BackendName, make_backend
from fanlab.topology.manifest import node_folder, read_manifest
from fanlab.topology.reach import Reach
from fanlab.topology.redis import redacted as urls_redacted

_RUN_TAGS = 1 << 16
_STATES = ("starting", "running", "complete", "stopped", "aborted", "failed", "quiet", "deadline")


@dataclass(frozen=True, slots=True)
class Request:
    """What to run, where to (a run directory that has been created), and with what means.

    `command` is the command line as it was given: what is secret in it is masked here, as in all that a run writes.
    """

    loaded: Loaded
    rundir: RunDir
    command: Sequence[str]
    redis_url: str | None = None
    workers: int = 1
    backend: BackendName = "process"
    beyond: Beyond = field(default_factory=Beyond)


@dataclass(slots=True)
class Run:
    """What the phases share."""

    request: Request
    listener: Listener
    scenario: Scenario
    plan: Plan
    timeline: tuple[PlannedFault, ...]
    backend: Backend
    manifest: dict[str, Any]
    run_tag: int
    secrets: Secrets
    reach: Reach
    remotes: Remotes | None = None
    zero_ns: int | None = None
    stopped: bool = False  # by a gate
    failures: list[FaultFailure] = field(default_factory=list)

    def notify(self, event: Event) -> None:
        """Tell whoever listens, and no secrets."""
        self.listener(Warned(self.secrets.hide(event.message)) if isinstance(event, Warned) else event)

    def learn(self, values: Iterable[str]) -> None:
        """There are more secrets. What is a name in this run stays one: it cannot be hidden in what names it."""
        self.secrets = self.secrets.besides(values).but((*texts_in(self.manifest), *_STATES))


def prepare_run(request: Request, listener: Listener) -> Run:
    """The run before anything is started: its plan, its timeline, its backend, its first manifest."""
    scenario = request.loaded.scenario
    secrets = Secrets(_secrets(request))
    shown = redacted(request.loaded, secrets)
    plan = make_plan(scenario)
    timeline = resolve(scenario, plan)
    run_tag = randbelow(_RUN_TAGS)  # tells this run's messages from a neighbour's; nothing depends on its value
    manifest = {
        "schema_version": 1,
        "fanlab_version": __version__,
        "status": "starting",
        "started_utc": clock.utc_stamp(),
        "command": [secrets.hide(urls_redacted(word)) for word in request.command],
        "scenario": shown.scenario.model_dump(mode="json"),
        "scenario_source": secrets.hide(shown.source),
        "scenario_sha256": request.loaded.sha256,
        "matrix_cell": shown.cell,
        "gate_places": [asdict(place) for place in shown.gate_places],
        "seed": scenario.seed,
        "backend": request.backend,
        "workers": request.workers + (request.beyond.invitation.expect if request.beyond.invitation else 0),
        "run_tag": run_tag,
        "plan": asdict(make_plan(shown.scenario)),
        "predictions": [asdict(prediction) for prediction in predict(scenario, plan)],
        "faults": [asdict(fault) for fault in timeline],
        "fault_failures": [],
        "unplanned_exits": [],
        "expected_exits": [],
        "phases": {
            "publish_start_ns": None,
            "zero_ns": None,
            "measure_end_ns": None,
            "drain_end_ns": None,
            "drain_ended_by": None,
        },
        "redis": None,
        "journaling_nodes": [],
        "caching_nodes": [],
        "backend_facts": {},
        "host": provenance.host(),
        "versions": provenance.versions(),
        "limits": provenance.limits(),
        "clock": provenance.clock_facts(),
    }
    reach = Reach(request.beyond.allow)
    backend = make_backend(
        request.backend,
        request.rundir,
        redis_url=request.redis_url,
        targets=request.beyond.targets,
        reach=reach,
        host=request.beyond.system_host,
    )
    this = Run(request, listener, scenario, plan, timeline, backend, manifest, run_tag, secrets, reach)
    this.learn(())
    return this


def _secrets(request: Request) -> Iterator[str]:
    yield from secrets_of(request.loaded.scenario)
    yield from secrets_of_words(request.command)
    yield from secrets_of_url(request.redis_url or "")
    yield from request.beyond.secrets()
    yield from secrets_of_settings(os.environ)


def known_to_nodes(this: Run, redis: RedisEndpoint) -> set[str]:
    """The secrets that nodes know and may say: no more goes to workers on other hosts, and never the token."""
    known = {*secrets_of(this.scenario), *this.request.beyond.secrets_of_targets(), *secrets_of_url(redis.url)}
    for kind in {node.kind for node in this.plan.nodes}:
        known |= {*read_manifest(node_folder(kind)).secrets()}
    return known & this.secrets.values


def write_manifest(this: Run, **changes: str) -> None:
    """As it is now, without secrets. Raises OSError."""
    this.manifest |= changes
    write_json(this.request.rundir.manifest, this.secrets.hide_in(this.manifest))


def hide_in_logs(this: Run) -> None:
    """What nodes have printed of secrets; nobody writes to their logs and journals any more."""
    try:
        hide_in_files(this.request.rundir.path, this.secrets)
    except OSError as error:
        this.notify(Warned(f"secrets could not be masked in {error.filename}: {error.strerror}"))
