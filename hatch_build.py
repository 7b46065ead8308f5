"""Compiles the hot path of receiving where there is a C compiler; fanlab does without it where there is none.

It is plain C, called through ctypes, so one library serves every Python: the wheel's tag is py3-none-PLATFORM with it,
and py3-none-any without.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import sysconfig
import zlib
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = Path("src") / "fanlab" / "load"


class Compiled(BuildHookInterface):  # type: ignore[type-arg]
    """For wheels, editable ones too."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling's
        """Put libbulk.so beside its source, and into the wheel."""
        library = Path(self.root) / FOLDER / "libbulk.so"
        if why := compiled(library):
            self.app.display_warning(f"fanlab receives with Python alone: {why}")
            with contextlib.suppress(OSError):
                library.unlink()
            return
        build_data["artifacts"].append((FOLDER / "libbulk.so").as_posix())
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"


def compiled(library: Path) -> str | None:
    """Make it; why not, where it cannot be."""
    if sys.platform != "linux":
        return "epoll is Linux's"
    command = os.environ.get("CC") or next((name for name in ("cc", "gcc", "clang") if shutil.which(name)), None)
    if command is None:
        return "there is no C compiler"
    source = library.with_name("bulk.c")
    crc = zlib.crc32(source.read_bytes())
    made = library.with_name(f".libbulk-{os.getpid()}.so")  # replaced at once: an engine may be starting
    argv = [*command.split(), "-O2", "-shared", "-fPIC", f"-DSOURCE_CRC={crc}u", "-o", str(made), str(source)]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            return f"{command} failed: {done.stderr.strip()[:500]}"
        made.replace(library)
    except OSError as error:
        return f"{error.filename or command}: {error.strerror}"
    finally:
        with contextlib.suppress(OSError):
            made.unlink()
    return None
