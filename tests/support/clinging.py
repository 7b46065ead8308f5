"""A system that is hard to get rid of: nodes that leave daemons behind, every phase, and several faults at once."""

import json
import shutil
from pathlib import Path
from typing import Any

from fanlab.resources import folder
from fanlab.topology import cgroups
from fanlab.topology.backend import Need

KIND = "clinging"
TOLD = {name: f"FANLAB_{name.upper()}" for name in ("host", "port", "redis_url", "journal")} | {"id": "FANLAB_NODE_ID"}
# The daemon is out of the node's session and process group, has no parent but the subreaper, and takes no hint.
SERVER = """\
import os
import signal
import sys
import time
from pathlib import Path

if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(signum, signal.SIG_IGN)
        while True:
            time.sleep(600)
    os._exit(0)
os.wait()
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "websockets"))
import server

sys.exit(server.main())
"""
MANIFEST = f"""\
kind: clinging
description: The reference node, and a daemon of its own.
process: {{argv: ["{{python}}", "server.py"]}}
container: {{context: .., dockerfile: ../websockets/Dockerfile, argv: [python, /nodes/clinging/server.py]}}
environment: {json.dumps(TOLD)}
websocket: /ws
ready: {{path: /readyz, timeout: 30s}}
cache: /cache/{{key}}
protocol: json
"""
HELD_NODE, CUT_NODE = "node-1", "node-2"
# Whether the generator keeps up is another matter, and so is what its lateness does to latency.
PATIENT = {"schedule_lag_p99": "1h", "loop_lag_p99": "1h", "bias_p99": "1h", "cpu": 1.0, "steal": 1.0}


def write_nodes(place: Path) -> None:
    """The folder `nodes`, as fanlab looks for it where it is run."""
    kind = place / "nodes" / KIND
    kind.mkdir(parents=True)
    (kind / "server.py").write_text(SERVER)
    (kind / "node.yaml").write_text(MANIFEST)
    shutil.copytree(folder("nodes") / "websockets", place / "nodes" / "websockets")


def scenario(*, measure_s: float = 5.0, faults: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """Two such nodes, clients, caches that are read; one node held while the other is cut off and throttled."""
    return {
        "name": "kills",
        "question": "What is left of a run that is killed?",
        "topology": {"nodes": {"kind": KIND, "count": 2}},
        "channels": ["news", "user:updated"],
        "clients": [{"group": "crowd", "count": 8, "spawn_rate": "200/s", "channels": ["news", "user:updated"]}],
        "publishers": [
            {"name": "desk", "channel": "news", "rate": "50/s"},
            {"name": "users", "channel": "user:updated", "rate": "20/s", "objects": 5},
        ],
        "readers": [{"name": "apps", "channel": "user:updated", "rate": "20/s"}],
        "limits": PATIENT,
        "phases": {
            "warm_up": "500ms",
            "measure": f"{measure_s}s",
            "drain": {"quiet": "300ms", "deadline": "5s"},
        },
        "faults": several_faults() if faults is None else faults,
    }


def several_faults() -> list[dict[str, Any]]:
    """A frozen process, a partition, and a cgroup where this machine has them; a crash when all that is over."""
    faults: list[dict[str, Any]] = [
        {"kind": "pause", "target": HELD_NODE, "at": "500ms", "for": "3s"},
        {"kind": "partition", "target": CUT_NODE, "at": "600ms", "for": "2900ms", "link": "redis"},
        {"kind": "crash", "target": HELD_NODE, "at": "4s", "for": "300ms"},
    ]
    if cgroups.refusal(Need.CPU_LIMIT) is None:
        faults.append({"kind": "cpu-throttle", "target": CUT_NODE, "at": "700ms", "for": "2500ms", "cores": 0.5})
    return faults
