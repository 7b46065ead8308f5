"""Network namespaces of containers: entered for one command at a time, by root, and never this machine's own."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from fanlab.errors import EnvironmentFailure
from fanlab.topology import handshake

COMMAND_WITHIN_S: Final = 5.0
_SBIN: Final = "/usr/local/sbin:/usr/sbin:/sbin"  # not on everybody's PATH
_SHOWN_CHARS: Final = 200
_PACKAGES: Final = {  # Debian's
    "iptables": "iptables",
    "iptables-restore": "iptables",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "ip": "iproute2",
    "ss": "iproute2",
    "tc": "iproute2",
}


def program(name: str) -> str:
    """Where a program of the system's is. Raises EnvironmentFailure if it is not installed."""
    found = shutil.which(name) or shutil.which(name, path=_SBIN)
    if found is None:
        raise EnvironmentFailure(f"it needs {name} (apt-get install {_PACKAGES.get(name, name)})")
    return found


def require(*names: str) -> None:
    """Raises EnvironmentFailure unless this process may enter other namespaces, and the system has these programs."""
    for name in ("nsenter", "unshare", *names):
        program(name)
    if os.geteuid() != 0:
        raise EnvironmentFailure("it takes root, on the engine's machine, to enter a container's network")


@dataclass(frozen=True, slots=True)
class Namespace:
    """One, by a process that lives in it and by the number that the kernel has for it, which no other has meanwhile."""

    pid: int
    inode: int

    @classmethod
    def of(cls, pid: int) -> Self:
        """That of a process. Raises EnvironmentFailure if it has ended, or lives in the one that this process is in."""
        try:
            inode = os.stat(_path(pid)).st_ino  # noqa: PTH116 - a link that only the kernel can follow
            own = os.stat(_path("self")).st_ino  # noqa: PTH116
        except OSError as error:
            raise EnvironmentFailure(
                f"the network namespace of process {pid} is not to be seen: {error.strerror}"
            ) from None
        if inode == own:
            raise EnvironmentFailure(f"process {pid} has no network of its own, and fanlab changes none but such")
        return cls(pid, inode)

    @property
    def lasts(self) -> bool:
        """Whether its process is still there, and in it."""
        try:
            return os.stat(_path(self.pid)).st_ino == self.inode  # noqa: PTH116
        except OSError:
            return False

    def run(self, argv: Sequence[str], told: str = "") -> str:
        """Run a program of the system's in it, `told` on its stdin; what it says.

        Raises EnvironmentFailure, with its complaint, if it fails or the namespace is not there any more.
        """
        with self._opened() as fd:
            return _said(fd, program(argv[0]), argv[1:], told)

    def read(self, name: str) -> str:
        """One of its files under /proc/net; empty if there is none. Raises EnvironmentFailure if it has gone."""
        try:
            text = Path(f"/proc/{self.pid}/net/{name}").read_text(encoding="ascii", errors="replace")
        except OSError:
            text = ""
        if not self.lasts:
            raise self._gone()
        return text

    def handshake_ns(self, address: str, port: int) -> int:
        """How long it takes from inside to connect there. Raises EnvironmentFailure if it cannot be done in time."""
        with self._opened() as fd:
            return int(_said(fd, sys.executable, ["-m", handshake.__name__, address, str(port)]))

    @contextmanager
    def _opened(self) -> Iterator[int]:
        try:
            fd = os.open(_path(self.pid), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            raise self._gone() from None
        try:
            if os.fstat(fd).st_ino != self.inode:  # the number of a process that has ended was given to another
                raise self._gone()
            yield fd
        finally:
            os.close(fd)

    def _gone(self) -> EnvironmentFailure:
        return EnvironmentFailure(f"process {self.pid} has ended, and its network with it")


@contextmanager
def throwaway() -> Iterator[Namespace]:
    """A namespace that nobody uses, to try things in. It is gone after the block, and with this process.

    Raises EnvironmentFailure if none can be made.
    """
    argv = [program("unshare"), "--net", "sh", "-c", "echo here && exec cat"]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT) as holder:  # ends with its stdin
        said = b"" if holder.stdout is None else holder.stdout.readline()
        if said != b"here\n":
            complaint = said.decode(errors="replace").strip()
            raise EnvironmentFailure(f"no network namespace can be made here: {complaint}")
        yield Namespace.of(holder.pid)


def _said(fd: int, program_: str, arguments: Sequence[str], told: str = "") -> str:
    argv = [program("nsenter"), f"--net=/proc/self/fd/{fd}", "--", program_, *arguments]
    name, environ = Path(program_).name, {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(
            argv, input=told, capture_output=True, text=True, errors="replace", timeout=COMMAND_WITHIN_S, check=False,
            pass_fds=(fd,), env=environ,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise EnvironmentFailure(f"{name} has not ended within {COMMAND_WITHIN_S:g} s") from None
    except OSError as error:
        raise EnvironmentFailure(f"{name} cannot be run: {error.strerror}") from error
    if done.returncode:
        complaint = " ".join((done.stderr or done.stdout).split()) or f"exit status {done.returncode}"
        raise EnvironmentFailure(f"{name} says: {complaint[:_SHOWN_CHARS]}")
    return done.stdout


def _path(pid: int | str) -> str:
    return f"/proc/{pid}/ns/net"
