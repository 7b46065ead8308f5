"""A scenario file's text, or one sentence on why there is none."""

import json
import os
import stat
from pathlib import Path

from fanlab.errors import Problem, ScenarioError
from fanlab.scenario.findings import nearest
from fanlab.units import format_bytes

MAX_BYTES = 256_000

_MAGIC = (
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"%PDF", "a PDF document"),
    (b"\x1f\x8b", "gzip-compressed"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x7fELF", "a program"),
    (b"SQLite format 3", "a database"),
    (b"\xff\xfe", "UTF-16 text; save it as UTF-8"),
    (b"\xfe\xff", "UTF-16 text; save it as UTF-8"),
)


def read(path: Path, source: str) -> str:
    """The text of a scenario file. Raises ScenarioError with the one reason why it cannot be read as such."""
    try:
        data = _bytes(path, source)
    except FileNotFoundError:
        raise _refused(source, "does not exist", _sibling(path)) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise _refused(source, f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > MAX_BYTES:
        raise _refused(source, f"is larger than {format_bytes(MAX_BYTES)}; no scenario is")
    for magic, what in _MAGIC:
        if data.startswith(magic):
            raise _refused(source, f"is {what}; a scenario is a YAML text")
    if data.startswith(b"\xef\xbb\xbf"):
        raise _refused(source, "begins with a byte order mark; save it as UTF-8 without one")
    if b"\0" in data:
        raise _refused(source, f"is binary (a NUL byte at offset {data.index(0)}); a scenario is a YAML text")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line = before.count(b"\n") + 1
        column = len(before.rpartition(b"\n")[2].decode("utf-8")) + 1
        what = f"the byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8"
        raise ScenarioError([Problem(source, line, column, "", what)]) from None


def refuse_other_kinds(text: str, keys: list[str], known: list[str], source: str) -> None:
    """Raise ScenarioError for a mapping that has nothing in common with a scenario but, at most, its name."""
    if keys and any(key in known for key in keys if key != "name"):
        return
    if any(nearest(key, known, likeness=0.7) for key in keys[:50] if key != "name"):
        return  # a scenario, badly spelt
    shown = ", ".join(known[:4])
    kind = "is JSON of another kind" if _is_json(text) else "is YAML of another kind"
    raise _refused(source, f"{kind}: it has none of a scenario's keys ({shown}, …)")


def _bytes(path: Path, source: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe without a writer must not block
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise _refused(source, "is a directory; name a scenario file in it")
        if not stat.S_ISREG(mode):
            raise _refused(source, "is no regular file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(MAX_BYTES + 1)
    finally:
        os.close(descriptor)


def _is_json(text: str) -> bool:
    if not text.lstrip().startswith(("{", "[")):
        return False
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _sibling(path: Path) -> str | None:
    """A YAML file beside `path` whose name is much like it."""
    try:
        names = [each.name for each in path.parent.iterdir() if each.suffix in (".yaml", ".yml")]
    except OSError:
        return None
    close = nearest(path.name, names)
    return str(path.with_name(close)) if close else None


def _refused(source: str, what: str, suggestion: str | None = None) -> ScenarioError:
    return ScenarioError([Problem(source, 0, 0, "", what, suggestion)])
