"""pydantic's complaints as problems of a file: at a line and column, in plain sentences, each thing once."""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic_core import ErrorDetails

from fanlab.errors import Problem
from fanlab.redaction import hide_word
from fanlab.scenario.document import Node, Scalar, Table
from fanlab.scenario.findings import Finding, Keys, nearest
from fanlab.scenario.shape import LOADER_KEYS, Choice, Items, Leaf, Record, Shape, Texts
from fanlab.scenario.tree import dotted, find, place_of

_LOOKED_AT = 1000  # characters of a value: more than is shown of it
_NAME_RULE = "letters, digits and . _ : -, beginning with a letter or digit"


def from_finding(finding: Finding, root: Node, shape: Shape) -> Problem:
    """A cross-check's finding at its place in the file; the place of what lacks it, where nothing was written."""
    return _problem(finding.keys, finding.what, root, shape, suggestion=finding.suggestion)


def from_error(error: ErrorDetails, root: Node, shape: Shape) -> Problem | None:
    """One of pydantic's errors on the tree; None for what another error says already."""
    loc = _without_branches(error["loc"], root, shape)
    if loc is None:
        return None
    keys, at = loc
    kind, context = error["type"], error.get("ctx") or {}
    if kind == "extra_forbidden":
        return _unknown_key(keys, root, shape)
    if kind == "missing":
        return _problem(keys, "missing; it must be given", root, shape)
    if kind.startswith("union_tag") and isinstance(at, Choice):
        return _not_chosen((*keys, "kind"), tuple(at.tags), root, shape)
    if kind == "literal_error" and isinstance(at, Leaf):
        return _not_chosen(keys, at.choices, root, shape)
    return _problem(keys, _sentence(kind, context, find(root, keys)[0], at), root, shape)


def _not_chosen(keys: Keys, choices: tuple[str, ...], root: Node, shape: Shape) -> Problem:
    given, _, found = find(root, keys)
    what = f"must be {_one_of(choices)}; it is {_shown(given)}" if found else f"missing; it must be {_one_of(choices)}"
    return _problem(keys, what, root, shape, suggestion=_near(given, choices) if found else None)


def keys_of(error: ErrorDetails, root: Node, shape: Shape) -> Keys:
    """The keys that one of pydantic's errors is about; empty for what another error says already."""
    loc = _without_branches(error["loc"], root, shape)
    return loc[0] if loc else ()


def _problem(
    keys: Keys, what: str, root: Node, shape: Shape, *, suggestion: str | None = None, key: bool = False
) -> Problem:
    place = place_of(root, keys, key=key)
    return Problem(place.source, place.line, place.column, dotted(root, keys, shape), what, suggestion)


def _unknown_key(keys: Keys, root: Node, shape: Shape) -> Problem:
    around = _shape_at(keys[:-1], root, shape)
    known = list(around.fields) if isinstance(around, Record | Choice) else []
    known += LOADER_KEYS if len(keys) == 1 else ()
    close = nearest(str(keys[-1]), known)
    what = "unknown key" if close else f"unknown key; the keys here are {', '.join(known)}"
    return _problem(keys, what, root, shape, suggestion=close, key=True)


def _shape_at(keys: Keys, root: Node, shape: Shape) -> Shape | None:
    at: Shape | None = shape
    for depth, key in enumerate(keys):
        if isinstance(at, Choice):
            at = _chosen(at, find(root, keys[:depth])[0])
        if isinstance(at, Items):
            at = at.item
        elif isinstance(at, Record) and key in at.fields:
            at = at.fields[str(key)].shape
        else:
            return None
    return _chosen(at, find(root, keys)[0]) if isinstance(at, Choice) else at


def _chosen(choice: Choice, node: Node) -> Record | Choice:
    entry = node.entries.get("kind") if isinstance(node, Table) else None
    tag = entry.node.value if entry and isinstance(entry.node, Scalar) else choice.short
    return choice.tags.get(tag, choice) if isinstance(tag, str) else choice


def _without_branches(loc: tuple[int | str, ...], root: Node, shape: Shape) -> tuple[Keys, Shape] | None:
    """pydantic's location as keys of the tree: without the tags of unions and the names of their branches."""
    keys: list[int | str] = []
    at: Shape = shape
    for element in loc:
        if isinstance(at, Choice) and element in at.tags:
            at = at.tags[str(element)]
        elif isinstance(at, Leaf):
            if at.or_list and isinstance(element, str):
                wants_list = element.startswith("list")
                if wants_list != (not isinstance(find(root, tuple(keys))[0], Scalar | Table)):
                    return None  # the branch that was not meant
            else:
                keys.append(element)
        elif element == "[key]":
            pass
        else:
            keys.append(element)
            at = _into(at, element)
    return tuple(keys), at


def _into(shape: Shape, element: int | str) -> Shape:
    match shape:
        case Items(item=item):
            return item
        case Record(fields=fields) if element in fields:
            return fields[str(element)].shape
        case _:
            return Leaf("text")


_SENTENCES: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "too_short": lambda context: f"needs at least {context['min_length']} {_entries(context['min_length'])}",
    "too_long": lambda context: f"takes at most {context['max_length']} {_entries(context['max_length'])}",
    "string_too_short": lambda _: "must not be empty",
    "string_too_long": lambda context: f"is longer than {context['max_length']} characters",
    "greater_than_equal": lambda context: f"must be at least {context['ge']:g}",
    "greater_than": lambda context: f"must be above {context['gt']:g}",
    "less_than_equal": lambda context: f"must be at most {context['le']:.15g}",
    "less_than": lambda context: f"must be below {context['lt']:.15g}",
}


def _sentence(kind: str, context: Mapping[str, Any], node: Node, at: Shape) -> str:
    if isinstance(node, Scalar) and node.value is None:
        return f"has no value; it takes {_wanted(at)}"
    if kind == "value_error":
        return str(context["error"])
    if kind == "too_long" and isinstance(at, Leaf | Texts):
        kind = f"string_{kind}"
    if kind in _SENTENCES:
        return _SENTENCES[kind](context)
    if kind == "string_pattern_mismatch":
        if "/" in context.get("pattern", "")[1:]:
            return f"{_shown(node)} is no kind of node; kinds are a folder's name, or two with a / between them"
        return f"{_shown(node)} is no name; names are {_NAME_RULE}"
    quotes = ": put it in quotes" if isinstance(at, Leaf) and at.what == "text" and isinstance(node, Scalar) else ""
    return f"must be {_wanted(at)}; it is {_shown(node)}{quotes}"


def _wanted(at: Shape) -> str:
    match at:
        case Leaf(or_list=True):
            return "a name or a list of names"
        case Leaf(what=what):
            return what if what == "true or false" else f"a {what}"
        case Items():
            return "a list, as [a, b]"
        case Texts():
            return "a mapping of names to texts"
        case Choice(short=str()):
            return "a rate, as 50/s, or a mapping with its kind"
        case _:
            return "a mapping, with a `key: value` on each line"


def _entries(number: int) -> str:
    return "entry" if number == 1 else "entries"


def _one_of(choices: tuple[str, ...]) -> str:
    return "one of " + ", ".join(choices) if len(choices) > 1 else choices[0]


def _near(node: Node, choices: tuple[str, ...]) -> str | None:
    return nearest(node.value, choices) if isinstance(node, Scalar) and isinstance(node.value, str) else None


def _shown(node: Node, limit: int = 60) -> str:
    """A value as its author would recognise it."""
    if isinstance(node, Table):
        return "a mapping"
    if not isinstance(node, Scalar):
        return "a list"
    value = node.value
    if isinstance(value, str):
        value = hide_word(value[:_LOOKED_AT])
    text = str(value).lower() if isinstance(value, bool) else "null" if value is None else repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."
