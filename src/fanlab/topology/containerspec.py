"""What a container is made as: the body of `POST /containers/create`, with everything taken away that a unit can do
without. Pure. Every container of a run is made by this, so what it says holds for all of them.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fanlab.topology.addresses import mac_of
from fanlab.topology.ports import HOST

PERIOD_US: Final = 100_000
MAX_PROCESSES: Final = 512
TMPFS: Final = "rw,nosuid,nodev,noexec,mode=1777,size=64m"
_MAC_PER_ENDPOINT: Final = (1, 44)  # from this API version on it belongs to the network's part
_LOG: Final = {"Type": "json-file", "Config": {"max-size": "20m", "max-file": "2"}}


@dataclass(frozen=True, slots=True)
class Mount:
    """A file or folder of this machine, seen inside."""

    source: Path
    target: str
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Published:
    """A port of a container's, reached on 127.0.0.1 of this machine, and nowhere else."""

    port: int
    host_port: int


@dataclass(frozen=True, slots=True)
class Attached:
    """A container's place on a run's network."""

    network: str
    address: str
    alias: str


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """One container."""

    image: str
    user: str  # uid:gid, as neither has a name inside
    labels: dict[str, str]
    argv: tuple[str, ...] | None  # None: what the image says
    env: dict[str, str]
    open_files: int
    mounts: tuple[Mount, ...] = ()
    scratch: frozenset[str] = frozenset()  # folders, beside /tmp, that are empty at each start and writable
    published: Published | None = None
    attached: Attached | None = None  # None: no network at all
    cpus: float | None = None
    memory_bytes: int | None = None

    def body(self, api_version: tuple[int, ...]) -> dict[str, Any]:
        """As the Engine API takes it."""
        body: dict[str, Any] = {
            "Image": self.image,
            "User": self.user,
            "Labels": self.labels,
            "Env": [f"{name}={value}" for name, value in {"HOME": "/tmp", **self.env}.items()],  # noqa: S108
            "AttachStdin": False,
            "OpenStdin": False,
            "Tty": False,
            "HostConfig": self._host(),
        }
        if self.argv is not None:
            body["Entrypoint"] = list(self.argv)  # an Entrypoint of one's own also does away with the image's Cmd
            body["Cmd"] = []
        if self.published is not None:
            body["ExposedPorts"] = {f"{self.published.port}/tcp": {}}
        if self.attached is not None:
            endpoint: dict[str, Any] = {
                "IPAMConfig": {"IPv4Address": self.attached.address},
                "Aliases": [self.attached.alias],
            }
            mac = mac_of(self.attached.address)
            if api_version >= _MAC_PER_ENDPOINT:
                endpoint["MacAddress"] = mac
            else:
                body["MacAddress"] = mac
            body["NetworkingConfig"] = {"EndpointsConfig": {self.attached.network: endpoint}}
        return body

    def _host(self) -> dict[str, Any]:
        host: dict[str, Any] = {
            "Init": True,  # the first process of a container gets no signal that it does not handle, and reaps nobody
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges:true"],
            "ReadonlyRootfs": True,
            "Tmpfs": dict.fromkeys(sorted({"/tmp", *self.scratch}), TMPFS),  # noqa: S108
            "PidsLimit": MAX_PROCESSES,
            "Privileged": False,
            "RestartPolicy": {"Name": "no"},
            "LogConfig": _LOG,
            "NetworkMode": "none" if self.attached is None else self.attached.network,
            "Ulimits": [{"Name": "nofile", "Soft": self.open_files, "Hard": self.open_files}],
            "Mounts": [
                {"Type": "bind", "Source": str(mount.source), "Target": mount.target, "ReadOnly": mount.read_only}
                for mount in self.mounts
            ],
        }
        if self.published is not None:
            binding = {"HostIp": HOST, "HostPort": str(self.published.host_port)}
            host["PortBindings"] = {f"{self.published.port}/tcp": [binding]}
        if self.cpus is not None:
            # A quota, not NanoCpus: one that was given as NanoCpus cannot be changed while the container runs.
            host |= {"CpuPeriod": PERIOD_US, "CpuQuota": round(self.cpus * PERIOD_US)}
        if self.memory_bytes is not None:
            host |= {"Memory": self.memory_bytes, "MemorySwap": self.memory_bytes}  # equal: no swap beside it
        return host
