"""Another host, made of this one: a network namespace behind a veth pair; if asked, with its own boot id and clock.

It needs root, and removes by name all that it made.
"""

import contextlib
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Final, Self

_numbers = count()
_BIND: Final = 'mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@"'


def command(*words: str) -> str:
    """Run it; its output. Raises with its words if it fails."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def why_not(*, clock: bool = False) -> str | None:
    """Why this machine can make no other host (of its own clock); None: it can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for program in ("ip", *(("unshare", "mount") if clock else ())):
        if shutil.which(program) is None:
            return f"no {program} here (apt install iproute2 util-linux)"
    try:
        with OtherHost() as host:
            if clock:
                command(*host.with_clock(Path(__file__), ahead_s=5), "true")
    except RuntimeError as error:
        return str(error)
    return None


@dataclass(slots=True)
class OtherHost:
    """Use it with `with`. `ours` is this host's address on the link between the two."""

    name: str = field(default_factory=lambda: f"fl{os.getpid()}x{next(_numbers)}")

    @property
    def ours(self) -> str:
        """This end's address."""
        return f"{self._net}.1"

    @property
    def theirs(self) -> str:
        """The other end's."""
        return f"{self._net}.2"

    @property
    def link(self) -> str:
        """This end's interface: no longer than Linux allows."""
        return f"{self.name}a"[-15:]

    @property
    def _net(self) -> str:
        place = os.getpid() * 7 + int(self.name.rpartition("x")[2])
        return f"10.{200 + place % 50}.{place // 50 % 250}"

    def before(self) -> list[str]:
        """Put in front of a command, it runs there."""
        return ["ip", "netns", "exec", self.name]

    def with_clock(self, boot_id: Path, *, ahead_s: int) -> list[str]:
        """Likewise, and that host's clock is ahead of ours by so much, and its boot id is what the file says."""
        clock = ["unshare", "--mount", "--time", "--monotonic", str(ahead_s)]
        return [*self.before(), *clock, "sh", "-c", _BIND, str(boot_id)]

    def unplug(self) -> None:
        """The cable between the two is pulled."""
        command("ip", "link", "set", self.link, "down")

    def __enter__(self) -> Self:
        there = f"{self.name}b"[-15:]
        try:
            command("ip", "netns", "add", self.name)
            command("ip", "link", "add", self.link, "type", "veth", "peer", "name", there, "netns", self.name)
            command("ip", "addr", "add", f"{self.ours}/30", "dev", self.link)
            command("ip", "link", "set", self.link, "up")
            command("ip", "-n", self.name, "addr", "add", f"{self.theirs}/30", "dev", there)
            command("ip", "-n", self.name, "link", "set", there, "up")
            command("ip", "-n", self.name, "link", "set", "lo", "up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for words in (("link", "del", self.link), ("netns", "del", self.name)):
            with contextlib.suppress(RuntimeError):  # it may not have come so far
                command("ip", *words)
