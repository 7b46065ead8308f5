"""Processes, folders and containers that look like a run's and are not: whoever cleans up must leave them alone."""

import contextlib
import dataclasses
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fanlab.topology.labels import USER, Marks, Owner

SLEEP = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(3600)"]


class Bystanders:
    """Started by `bystanders`; `missing` says who has been touched."""

    def __init__(self) -> None:
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.folders: list[Path] = []
        self.containers: list[str] = []
        self.networks: list[str] = []
        self.api: Any = None

    def start(self, name: str, env: dict[str, str], *words: str) -> None:
        """A process that does nothing."""
        self.processes[name] = subprocess.Popen([*SLEEP, *words], env=env, start_new_session=True)

    def missing(self) -> list[str]:
        """Those that are not there any more."""
        lines = [f"bystander {name}" for name, process in self.processes.items() if process.poll() is not None]
        lines += [f"bystander {folder}" for folder in self.folders if not (folder / "kept").exists()]
        if self.api is not None:
            running = {each["Id"] for each in self.api.containers()}
            lines += [f"bystander container {each}" for each in self.containers if each not in running]
            networks = {each["Id"] for each in self.api.networks()}
            lines += [f"bystander network {each}" for each in self.networks if each not in networks]
        return lines


@contextlib.contextmanager
def bystanders(temporary: Path, api: Any = None, image: str = "") -> Iterator[Bystanders]:
    """Of each kind one whose owner lives, one that nobody can judge, and one that is only called so."""
    here = Owner.of(os.getpid())
    live = Marks.new(here)
    elsewhere = Marks.new(dataclasses.replace(here, start_ticks=1, boot_id="another", host="another"))
    inside = Marks.new(dataclasses.replace(here, start_ticks=1, namespace="1"))
    found = Bystanders()
    try:
        found.start("that is only called so", {}, "fanlab.load.worker", "--index", "1")
        for name, marks in (("of a live owner", live), ("of another machine", elsewhere), ("of a container", inside)):
            found.start(name, marks.env())
        found.start("whose mark makes no sense", {"FANLAB_RUN": "x", "FANLAB_OWNER": "1:2"})
        for number, signed in enumerate((None, live, elsewhere, inside)):
            folder = temporary / f"fanlab-bystander{number}"
            folder.mkdir()
            (folder / "kept").touch()
            if signed is not None:
                signed.sign(folder)
            found.folders.append(folder)
        if api is not None:
            found.api = api
            _contain(found, live, image)
        yield found
    finally:
        for process in found.processes.values():
            process.kill()
            process.wait()
        for container in found.containers:
            api.remove_container(container, force=True)
        for network in found.networks:
            api.remove_network(network)


def _contain(found: Bystanders, live: Marks, image: str) -> None:
    labels = {
        "none": {},
        "live": live.labels("node-1"),
        "foreign": {**live.labels("node-1"), USER: str(os.getuid() + 1)},
        "nonsense": {**live.labels("node-1"), "fanlab.owner": "1:2"},
    }
    for kind, marks in labels.items():
        name = f"fanlab-bystander-{secrets.token_hex(4)}-{kind}"
        config = {
            "Image": image,
            "Entrypoint": ["sleep", "3600"],
            "Labels": marks,
            "HostConfig": {"Init": True, "NetworkMode": "none"},
        }
        found.containers.append(found.api.create_container_from_config(config, name)["Id"])
        found.api.start(found.containers[-1])
        found.networks.append(found.api.create_network(name, driver="bridge", labels=marks)["Id"])
