"""YAML text as a tree of plain values, each with its place. Nothing recurses, nothing expands without a bound.

The tree is built straight from the parser's events, so that a hostile file is given up at the event that breaks a
bound. Plain scalars mean what the YAML 1.2 core schema says (https://yaml.org/spec/1.2.2/#103-core-schema): `on`, `yes`
and `12:30` are texts, `0777` is 777, there are no dates. PyYAML's own resolver follows YAML 1.1, so it is not used.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import yaml

from fanlab.errors import Problem, ScenarioError
from fanlab.scenario.syntax import explain

MAX_DEPTH = 32
MAX_REPORTS = 50  # problems that do not keep the rest from being read; past them nobody reads on
MAX_NODES = 100_000  # values, with aliases counted as often as they are used

Via = Literal["file", "matrix", "set", "seed"]

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's parser, ten times as fast, where it was built in
_CORE = "tag:yaml.org,2002:"
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_INT = re.compile(r"[-+]?[0-9]+$")
_BASED = re.compile(r"0o([0-7]+)$|0x([0-9a-fA-F]+)$")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$")
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
}
_MAX_DIGITS = 18  # what 64 bits hold; nothing in a scenario is larger


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value was written. Lines and columns count from 1; 0 where the source has none (a command line)."""

    source: str
    line: int
    column: int
    via: Via = "file"


@dataclass(frozen=True, slots=True)
class Scalar:
    """A text, number, truth value or null."""

    value: Any
    place: Place


@dataclass(frozen=True, slots=True)
class Listing:
    """A list. `lone` if it was written as its only entry."""

    items: tuple["Node", ...]
    place: Place
    lone: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """One `key: value`, with the key's place."""

    place: Place
    node: "Node"


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping. `short` if it was written as the value of its only key."""

    entries: dict[str, Entry]
    place: Place
    short: bool = False


Node: TypeAlias = Scalar | Listing | Table


@dataclass(frozen=True, slots=True)
class Document:
    """A file's tree, and what is wrong with it that does not keep the rest from being read."""

    root: Node
    problems: tuple[Problem, ...]


@dataclass(slots=True)
class _Open:
    """A collection whose end has not come yet."""

    is_table: bool
    place: Place
    anchor: str | None
    items: list[Node] = field(default_factory=list)
    entries: dict[str, Entry] = field(default_factory=dict)
    merges: list[tuple[Place, Node]] = field(default_factory=list)
    key: tuple[str, Place] | None = None
    size: int = 1
    height: int = 1


def plain(node: Node) -> Any:
    """The tree as Python's own values."""
    match node:
        case Scalar(value=value):
            return value
        case Listing(items=items):
            return [plain(item) for item in items]
        case Table(entries=entries):
            return {key: plain(entry.node) for key, entry in entries.items()}


def size(node: Node) -> int:
    """How many values a tree has, collections included."""
    match node:
        case Listing(items=items):
            return 1 + sum(map(size, items))
        case Table(entries=entries):
            return 1 + sum(size(entry.node) for entry in entries.values())
        case _:
            return 1


def parse(text: str, source: str, *, via: Via = "file") -> Document:
    """The one YAML document in `text`.

    Raises ScenarioError where there is no tree to speak of (bad syntax, a bomb, no document, two of them); duplicate
    keys and foreign tags are reported beside the tree.
    """
    return _Builder(source, via).build(text)


class _Builder:
    """Turns events into a tree. One use each."""

    def __init__(self, source: str, via: Via) -> None:
        self._source = source
        self._via: Via = via
        self._problems: list[Problem] = []
        self._stack: list[_Open] = []
        self._anchors: dict[str, tuple[Node, int, int] | None] = {}  # None: still open
        self._root: Node | None = None
        self._size = 0

    def build(self, text: str) -> Document:
        """Parse all of it."""
        self._refuse_unprintable(text)
        documents = 0
        for event in self._events(text):
            match event:
                case yaml.DocumentStartEvent():
                    documents += 1
                    if documents > 1:
                        raise self._fatal(self._at(event), "a second document begins here (---); a scenario is one")
                case yaml.AliasEvent():
                    self._alias(event)
                case yaml.ScalarEvent():
                    self._scalar(event)
                case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                    self._begin(event)
                case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                    self._end()
        if self._root is None or (isinstance(self._root, Scalar) and self._root.value is None and self._via == "file"):
            raise ScenarioError([Problem(self._source, 0, 0, "", "is empty; a scenario begins with its name")])
        return Document(self._root, tuple(self._problems))

    def _events(self, text: str) -> Iterator[yaml.Event]:
        try:
            yield from yaml.parse(text, Loader=_LOADER)
        except yaml.MarkedYAMLError as error:
            line, column, what = explain(error, text)
            raise self._fatal(self._place(line, column), what) from None
        except yaml.YAMLError as error:
            raise ScenarioError([Problem(self._source, 0, 0, "", f"is no YAML: {error}")]) from None

    def _refuse_unprintable(self, text: str) -> None:
        if found := _UNPRINTABLE.search(text):
            before = _BREAK.split(text[: found.start()])
            what = f"the character U+{ord(found[0]):04X} cannot stand in YAML; write it as an escape in double quotes"
            raise self._fatal(self._place(len(before), len(before[-1]) + 1), what)

    def _place(self, line: int, column: int) -> Place:
        return (
            Place(self._source, line, column, self._via)
            if self._via == "file"
            else Place(self._source, 0, 0, self._via)
        )

    def _at(self, event: yaml.Event) -> Place:
        mark = event.start_mark
        return self._place(mark.line + 1, mark.column + 1) if mark else self._place(0, 0)

    def _fatal(self, place: Place, what: str) -> ScenarioError:
        return ScenarioError([*self._problems, Problem(place.source, place.line, place.column, "", what)])

    def _report(self, place: Place, what: str) -> None:
        if len(self._problems) >= MAX_REPORTS:
            raise self._fatal(place, what)
        self._problems.append(Problem(place.source, place.line, place.column, "", what))

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        place = self._at(event)
        frame = self._stack[-1] if self._stack else None
        if frame is not None and frame.is_table and frame.key is None:
            self._count(place, 1, 1)
            if not event.value:
                self._report(place, "a key is empty")
            frame.key = (event.value, place)
            return
        self._add(Scalar(self._resolve(event, place), place), 1, 1, event.anchor)

    def _resolve(self, event: yaml.ScalarEvent, place: Place) -> Any:
        tag, text = event.tag, event.value
        if tag in (None, "!"):
            plain_style = tag is None and event.implicit[0]
            value = core_value(text) if plain_style else text
        elif tag == _CORE + "str":
            value = text
        elif tag in (_CORE + "int", _CORE + "float", _CORE + "bool", _CORE + "null"):
            value = core_value(text)
        else:
            self._foreign(tag, place)
            value = text
        if isinstance(value, int) and len(str(value).lstrip("-")) > _MAX_DIGITS:
            self._report(place, f"a number of more than {_MAX_DIGITS} digits")
            return 0
        return value

    def _foreign(self, tag: str, place: Place) -> None:
        shown = f"!!{tag.removeprefix(_CORE)}" if tag.startswith(_CORE) else tag
        self._report(place, f"the tag {shown[:40]} means nothing here; write the plain value")

    def _begin(self, event: yaml.MappingStartEvent | yaml.SequenceStartEvent) -> None:
        place = self._at(event)
        is_table = isinstance(event, yaml.MappingStartEvent)
        if self._stack and self._stack[-1].is_table and self._stack[-1].key is None:
            raise self._fatal(place, "a key must be a text, not a list or a mapping")
        if event.tag not in (None, "!", _CORE + ("map" if is_table else "seq")):
            self._foreign(event.tag, place)
        if len(self._stack) >= MAX_DEPTH:
            raise self._fatal(place, f"nested more than {MAX_DEPTH} levels deep")
        if event.anchor:
            self._anchors[event.anchor] = None
        self._stack.append(_Open(is_table, place, event.anchor))
        self._count(place, 1, 0)

    def _end(self) -> None:
        frame = self._stack.pop()
        if frame.is_table:
            node: Node = Table(self._merged(frame), frame.place)
        else:
            node = Listing(tuple(frame.items), frame.place)
        self._size -= frame.size  # _add counts the collection with all it holds
        self._add(node, frame.size, frame.height, frame.anchor)

    def _alias(self, event: yaml.AliasEvent) -> None:
        place = self._at(event)
        if self._stack and self._stack[-1].is_table and self._stack[-1].key is None:
            raise self._fatal(place, "a key must be written out, not taken from an alias")
        if event.anchor not in self._anchors:
            raise self._fatal(place, f"the alias *{event.anchor} has no anchor &{event.anchor} before it")
        known = self._anchors[event.anchor]
        if known is None:
            raise self._fatal(place, f"the alias *{event.anchor} stands inside its own anchor: it would never end")
        self._add(*known, None)

    def _add(self, node: Node, size: int, height: int, anchor: str | None) -> None:
        """Put a finished node where it belongs: into the collection that is open, or at the root."""
        self._count(node.place, size, height)
        if anchor:
            self._anchors[anchor] = (node, size, height)
        if not self._stack:
            self._root = node
            return
        frame = self._stack[-1]
        frame.size += size
        frame.height = max(frame.height, height + 1)
        if not frame.is_table:
            frame.items.append(node)
            return
        if frame.key is None:  # the parser gives keys before values
            raise self._fatal(node.place, "a value without a key")
        (key, place), frame.key = frame.key, None
        if key == "<<":
            frame.merges.append((place, node))
        elif key in frame.entries:
            first = frame.entries[key].place
            where = f"line {first.line}, column {first.column}" if first.line else "before"
            self._report(place, f"the key {_clip(key)} stands here a second time; the first is at {where}")
        else:
            frame.entries[key] = Entry(place, node)

    def _count(self, place: Place, size: int, height: int) -> None:
        self._size += size
        if self._size > MAX_NODES:
            raise self._fatal(place, f"more than {MAX_NODES} values, with aliases counted as often as they are used")
        if len(self._stack) + height > MAX_DEPTH + 1:
            raise self._fatal(place, f"nested more than {MAX_DEPTH} levels deep")

    def _merged(self, frame: _Open) -> dict[str, Entry]:
        """The entries with `<<` applied: own keys win, then earlier merges (https://yaml.org/type/merge.html)."""
        entries = dict(frame.entries)
        for place, node in frame.merges:
            for source in node.items if isinstance(node, Listing) else (node,):
                if not isinstance(source, Table):
                    self._report(place, "<< takes a mapping, or a list of mappings, mostly as an alias")
                    continue
                for key, entry in source.entries.items():
                    entries.setdefault(key, entry)
        return entries


def core_value(text: str) -> Any:
    """What a plain scalar means by the YAML 1.2 core schema."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.match(text):
        return int(text[: _MAX_DIGITS + 3])  # longer ones are refused by their length, not computed
    if based := _BASED.match(text):
        digits = (based[1] or based[2])[: _MAX_DIGITS + 3]
        return int(digits, 8 if based[1] else 16)
    if _FLOAT.match(text):
        return float(text)
    return text


def _clip(text: str, limit: int = 60) -> str:
    shown = repr(text)
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."
