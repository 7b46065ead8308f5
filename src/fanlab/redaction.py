"""Secrets, by where they stand and by value: what fanlab writes and prints holds none of them.

A secret stands in a URL (a password, or a parameter whose name looks like one) or is a setting whose name looks secret.
Once known, its value is masked wherever it comes up: in an error, in a reason, in a line that a node printed.
"""

import html
import json
import mmap
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote

MARK: Final = "***"
MIN_CHARS: Final = 6  # shorter values are masked where they stand only: "1" and "redis" are parts of too much else
EVIDENCE: Final = frozenset({"ev", "ch", "mark", "key", "node", "state", "kind", "target", "stamp"})  # names, no texts

# Each takes time in proportion to the text, whatever stands in it.
_SECRET_NAME: Final = re.compile(
    r"(?i)password|passwd|passphrase|secret|token|credential|requirepass|masterauth"
    r"|(^|[^a-z])(pass|auth|[a-z]*key|keys)([^a-z]|$)|[_-]pwd([^a-z]|$)"
)
_USERINFO: Final = re.compile(r"(?<=://)[^\s/?#'\"<>]+@")
_SCHEME: Final = re.compile(r"(?i)(?:^|=)[a-z][a-z0-9+.-]*://")
_PARAMETER: Final = re.compile(r"(?<=[?&;])([^\s=&;?#'\"<>]++)=([^\s&;#'\"<>]*)")
_ASSIGNED: Final = re.compile(r"""(?<![\w.-])([\w.-]++)(['"]?\s*[=:]\s*)("[^"]*"|'[^']*'|[^\s'",;&{}\[\]]+)""")


def looks_secret(name: str) -> bool:
    """Whether a setting of this name is one: `API_KEY`, `AUTH_TOKEN`, `requirepass`; of a path, its last part."""
    return bool(_SECRET_NAME.search(name.rpartition(".")[2]))


def hide_urls(text: str) -> str:
    """A text whose URLs have lost their passwords, and those of their parameters that look secret."""
    shown = _USERINFO.sub(lambda found: _without_password(found[0][:-1]) + "@", text)
    return _PARAMETER.sub(lambda found: f"{found[1]}={MARK if looks_secret(found[1]) else found[2]}", shown)


def hide_settings(text: str) -> str:
    """The same for a text of settings (`NAME=value`, `{name: value}`): those that look secret have lost theirs."""
    assigned = _ASSIGNED.sub(lambda found: f"{found[1]}{found[2]}{MARK}" if looks_secret(found[1]) else found[0], text)
    return hide_urls(assigned)


def hide_word(word: str) -> str:
    """The same for a word of a command line."""
    head, userinfo, rest = _userinfo(word)
    shown = f"{head}{_without_password(userinfo)}{rest}" if userinfo else word
    setting = _setting(shown)
    return hide_settings(shown) if setting is None else shown.removesuffix(setting) + MARK


def secrets_of_text(text: str) -> Iterator[str]:
    """The secrets in a text's URLs."""
    yield from (_password(found[:-1]) for found in _USERINFO.findall(text))
    yield from (value for name, value in _PARAMETER.findall(text) if looks_secret(name))


def secrets_of_url(url: str) -> Iterator[str]:
    """All that may be secret in one URL: its password, and whatever its query says."""
    yield from secrets_of_words([url])
    for part in url.partition("?")[2].split("&"):
        name, equals, value = part.partition("=")
        yield value if equals else name


def secrets_of_settings(settings: Mapping[str, str]) -> Iterator[str]:
    """The values of those that look secret, and the secrets in the others' URLs."""
    for name, value in settings.items():
        if looks_secret(name):
            yield value
        yield from secrets_of_text(value)


def secrets_of_words(words: Iterable[str]) -> Iterator[str]:
    """The secrets in the words of a command line: in URLs, in `name=value`, and in `--name value`."""
    option = ""
    for word in words:
        if option.startswith("--") and "=" not in option and looks_secret(option):
            yield word
        option = word
        yield _setting(word) or ""
        yield from secrets_of_text(word)
        yield _password(_userinfo(word)[1])
        yield from (value.strip("'\"") for name, _, value in _ASSIGNED.findall(word) if looks_secret(name))


class Secrets:
    """Values to be masked. Immutable."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        self.values = frozenset(value for value in values if value)
        self.forms = tuple(sorted({form for value in self.values for form in _forms(value)}, key=len, reverse=True))
        self._pattern = re.compile("|".join(map(re.escape, self.forms))) if self.forms else None

    def hide(self, text: str) -> str:
        """The text without any of them, nor any that stand in its URLs; nor the beginning of one that it ends with."""
        shown = hide_urls(text)
        if self._pattern is not None:
            shown = self._pattern.sub(MARK, shown)
            for form in self.forms:  # a line that was cut
                at = shown.rfind(form[:MIN_CHARS], max(0, len(shown) - len(form)))
                if at >= 0 and form.startswith(shown[at:]):
                    shown = shown[:at] + MARK
        return shown

    def hide_in(self, data: Any) -> Any:
        """The same for all texts of some plain data; keys stay."""
        match data:
            case str():
                return self.hide(data)
            case Mapping():
                return {key: self.hide_in(value) for key, value in data.items()}
            case list() | tuple():
                return [self.hide_in(value) for value in data]
            case _:
                return data

    def besides(self, values: Iterable[str]) -> "Secrets":
        """These and some more."""
        return Secrets({*self.values, *values})

    def but(self, words: Iterable[str]) -> "Secrets":
        """Without those that are part of these words: what is a name all over a run cannot be hidden in it."""
        said = "\n".join(words)
        return Secrets(value for value in self.values if not any(form in said for form in _forms(value)))


def hide_setting(name: str, value: Any, secrets: Secrets) -> Any:
    """A setting's value as it may be shown: not at all if its name looks secret; of a mapping, each by its own name."""
    match value:
        case Mapping():
            return {key: hide_setting(key, each, secrets) for key, each in value.items()}
        case list() | tuple():
            return [hide_setting(name, each, secrets) for each in value]
        case _:
            return MARK if looks_secret(name) else secrets.hide_in(value)


def texts_in(data: Any) -> Iterator[str]:
    """All texts of some plain data, without its keys."""
    match data:
        case str():
            yield data
        case Mapping():
            yield from (text for value in data.values() for text in texts_in(value))
        case list() | tuple():
            yield from (text for value in data for text in texts_in(value))


def hide_in_files(folder: Path, secrets: Secrets) -> None:
    """Mask secrets in what others have written below a folder: logs, CSV tables, journals of JSON lines.

    In a journal free texts only, never a name that evidence goes by; other files are left alone. Raises OSError.
    """
    wanted = [form.encode("utf-8", "surrogatepass") for form in secrets.forms]
    for root, _, files in os.walk(folder) if wanted else ():
        for path in (Path(root, name) for name in files):
            if path.suffix in (".log", ".jsonl", ".csv") and not path.is_symlink() and _holds(path, wanted):
                temporary = path.with_name(f".{path.name}.{os.getpid()}")
                with path.open("rb") as file, temporary.open("wb") as hidden:
                    if path.suffix == ".jsonl":
                        hidden.writelines(_hidden_line(line, wanted, secrets) for line in file)
                    else:
                        hidden.write(_hidden(file.read(), wanted))
                temporary.replace(path)


def _holds(path: Path, wanted: Sequence[bytes]) -> bool:
    if not path.is_file() or not path.stat().st_size:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return any(data.find(form) >= 0 for form in wanted)


def _hidden_line(line: bytes, wanted: Sequence[bytes], secrets: Secrets) -> bytes:
    if not any(form in line for form in wanted):
        return line
    try:
        event = json.loads(line)
    except ValueError:
        return _hidden(line, wanted)  # torn: nobody reads it
    if not isinstance(event, dict):
        return line
    shown = {key: value if key in EVIDENCE else secrets.hide_in(value) for key, value in event.items()}
    return json.dumps(shown, separators=(",", ":")).encode() + b"\n" if shown != event else line


def _hidden(data: bytes, wanted: Sequence[bytes]) -> bytes:
    for form in wanted:
        data = data.replace(form, MARK.encode())
    return data


def _setting(word: str) -> str | None:
    """What a word sets that looks secret: all behind the `=`, as in `topology.nodes.env.API_KEY=…`."""
    name, equals, rest = word.partition("=")
    while equals and not looks_secret(name):
        name, equals, rest = rest.partition("=")
    return rest if equals else None


def _userinfo(word: str) -> tuple[str, str, str]:
    """A word in parts, of which the middle one stands before the last @ if it is a URL, be it a bad one; else empty."""
    scheme = _SCHEME.search(word)
    if scheme is None:
        return word, "", ""
    userinfo, at, rest = word[scheme.end() :].rpartition("@")
    return word[: scheme.end()], userinfo, at + rest


def _password(userinfo: str) -> str:
    """What comes after the user's name; a name alone may be a token."""
    name, colon, password = userinfo.partition(":")
    return password if colon else name


def _without_password(userinfo: str) -> str:
    name, colon, _ = userinfo.partition(":")
    return f"{name}:{MARK}" if colon else MARK


def _forms(value: str) -> set[str]:
    """A value as it may come up: as it is, percent-encoded or not, escaped for JSON, Python or HTML."""
    plain = {value, unquote(value)}
    plain |= {line.strip() for one in plain for line in one.splitlines()}  # as logs are quoted
    forms = plain | {quote(one, safe="", errors="surrogatepass") for one in plain}
    forms |= {escaped for one in plain for escaped in (html.escape(one), repr(one)[1:-1])}
    forms |= {json.dumps(one, ensure_ascii=ascii_only)[1:-1] for one in plain for ascii_only in (True, False)}
    return {form for form in forms if len(form) >= MIN_CHARS}
