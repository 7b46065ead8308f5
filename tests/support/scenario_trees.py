"""Trees that say more than plain values can (a key twice, an alias, a tag), and YAML written from them in any style."""

import json
import re
from dataclasses import dataclass
from random import Random
from typing import Any

MAX_DEPTH = 250  # of what is written: more than the loader takes, and less than Python's own
MAX_VALUES = 15_000  # likewise
_PLAIN = re.compile(r"[A-Za-z0-9_./<>=][\w./<>= µ:-]*")


class Table(list):
    """A mapping as [key, value] pairs, so that a key may stand twice."""


@dataclass(slots=True)
class Anchored:
    """A value with an anchor."""

    name: str
    value: Any


@dataclass(frozen=True, slots=True)
class Raw:
    """YAML as it is, on one line: an alias, a tag, a number in disguise."""

    text: str


def tree_of(value: Any) -> Any:
    """Plain values as a tree of their own."""
    if isinstance(value, dict):
        return Table([[key, tree_of(each)] for key, each in value.items()])
    return [tree_of(each) for each in value] if isinstance(value, list) else value


def write(tree: Any, random: Random) -> str:
    """A tree as YAML, in whatever style comes up."""
    return _Writer(random).block(tree, 0) if tree else "{}\n"


class _Writer:
    def __init__(self, random: Random) -> None:
        self.random = random
        self.flow_share = random.choice((0.0, 0.2, 0.5, 1.0))
        self.step = random.choice((1, 2, 2, 4))
        self.comments = random.random() < 0.3
        self.values = 0

    def block(self, value: Any, indent: int) -> str:
        """A table or list that is not empty, an entry a line."""
        pad, lines = " " * indent, []
        for entry in value:
            if self.values > MAX_VALUES:
                break
            if self.comments and self.random.random() < 0.1:
                lines.append(f"{pad}# {self.random.choice(('why', 'ü', '{{ x }}', '- x: [', '----'))}\n")
            lead, item = (f"{self.scalar(entry[0])}:", entry[1]) if isinstance(value, Table) else ("-", entry)
            anchor = ""
            if isinstance(item, Anchored):
                anchor, item = f" &{item.name}", item.value
            if isinstance(item, list) and item and indent < 120 and self.random.random() >= self.flow_share:
                lines.append(f"{pad}{lead}{anchor}\n{self.block(item, indent + self.step)}")
            else:
                lines.append(f"{pad}{lead}{anchor} {self.flow(item)}\n")
        return "".join(lines)

    def flow(self, value: Any, depth: int = 0) -> str:
        """Anything, on one line."""
        self.values += 1
        if depth > MAX_DEPTH or self.values > MAX_VALUES:
            return "x"
        match value:
            case Anchored(name=name, value=inner):
                return f"&{name} {self.flow(inner, depth + 1)}"
            case Table():
                pairs = (f"{self.scalar(key)}: {self.flow(each, depth + 1)}" for key, each in value)
                return "{" + ", ".join(pairs) + "}"
            case list():
                return "[" + ", ".join(self.flow(each, depth + 1) for each in value) + "]"
            case Raw(text=text):
                return text
            case _:
                return self.scalar(value)

    def scalar(self, value: Any) -> str:
        """A single value in one of its notations."""
        if value is None:
            return self.random.choice(("null", "~", ""))
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, int | float):
            return {"inf": ".inf", "nan": ".nan"}.get(str(value), str(value))
        style = self.random.random()
        if style < 0.6 and _PLAIN.fullmatch(value) and ": " not in value + " ":
            return value
        if style < 0.85 and value.isprintable():
            return "'" + value.replace("'", "''") + "'"
        return json.dumps(value, ensure_ascii=style < 0.9)
