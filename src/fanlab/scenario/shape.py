"""The model's shape as plain data: which keys stand where, and what each one takes.

One walk over the pydantic classes serves error places, suggestions, `--set` paths, the origins of values, the schema
and the reference, so that none of them can drift from the model.
"""

import re
import types
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, BeforeValidator
from pydantic.fields import FieldInfo

from fanlab import units
from fanlab.scenario.model import Scenario

LOADER_KEYS = ("defaults", "matrix")  # keys of a file that are no part of a scenario
NAME_KEYS = ("group", "name", "kind")  # by which of its keys an entry of a list may be called, in this order

Unit = Literal["duration", "rate", "size"]
_UNITS: dict[Callable[..., Any], Unit] = {
    units.parse_duration_ns: "duration",
    units.parse_rate_per_s: "rate",
    units.parse_size_bytes: "size",
}


@dataclass(frozen=True, slots=True)
class Leaf:
    """A single value."""

    what: str  # "duration", "rate", "size", "text", "whole number", "number", "true or false", "choice"
    choices: tuple[str, ...] = ()
    or_list: bool = False  # a list of them will do too


@dataclass(frozen=True, slots=True)
class Texts:
    """A mapping of the author's own keys to texts."""


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    item: "Shape"
    key: str | None  # the key by which an entry may be called
    lone: bool  # a single mapping will do too


@dataclass(frozen=True, slots=True)
class Record:
    """A mapping with known keys."""

    model: type[BaseModel]
    fields: dict[str, "Slot"]  # by the names that YAML uses


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several records, told apart by `kind`."""

    tags: dict[str, Record]
    short: str | None  # the tag meant by a bare value, which is then its `rate`

    @property
    def fields(self) -> dict[str, "Slot"]:
        """Every key that any of the records knows."""
        return {name: slot for record in self.tags.values() for name, slot in record.fields.items()}


Shape: TypeAlias = Leaf | Texts | Items | Record | Choice


@dataclass(frozen=True, slots=True)
class Slot:
    """One key of a record."""

    attribute: str
    shape: Shape
    info: FieldInfo

    @property
    def optional(self) -> bool:
        """Whether null stands for "not given"."""
        return self.info.default is None


@cache
def scenario_shape() -> Record:
    """The shape of a whole scenario."""
    return record(Scenario)


def record(model: type[BaseModel]) -> Record:
    """The shape of one of the model's classes."""
    hints = get_type_hints(model, include_extras=True)
    fields = {}
    for attribute, info in model.model_fields.items():
        fields[info.alias or attribute] = Slot(attribute, _shape(hints[attribute]), info)
    return Record(model, dict(sorted(fields.items(), key=lambda field: field[0] != "kind")))  # what it is comes first


def _shape(hint: Any) -> Shape:  # noqa: PLR0911 - one return per kind of hint
    hint, validators = _unwrapped(hint)
    for validator in validators:
        if validator in _UNITS:
            return Leaf(_UNITS[validator])
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _union(args, short=bool(validators))
    if origin is list:
        item = _shape(args[0])
        key = next((name for name in NAME_KEYS if name in item.fields), None) if isinstance(item, Record) else None
        return Items(item, key, lone=bool(validators))
    if origin is dict:
        return Texts()
    if origin is Literal:
        return Leaf("choice", args)
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return record(hint)
    return Leaf({str: "text", int: "whole number", float: "number", bool: "true or false"}[hint])


def _union(args: tuple[Any, ...], *, short: bool) -> Shape:
    shapes = [_shape(arg) for arg in args if arg is not type(None)]
    if len(shapes) == 1:
        return shapes[0]
    if isinstance(shapes[0], Leaf):
        return Leaf(shapes[0].what, or_list=True)
    tags: dict[str, Record] = {}
    for shape in shapes:
        if not isinstance(shape, Record) or not isinstance(kind := shape.fields["kind"].shape, Leaf):
            raise TypeError(f"a union of {args} has no shape")  # pragma: no cover - the model's own mistake
        tags.update(dict.fromkeys(kind.choices, shape))
    return Choice(tags, "constant" if short else None)


def _unwrapped(hint: Any) -> tuple[Any, list[Callable[..., Any]]]:
    """A hint without its Annotated layers, and the functions that run before its own validation."""
    validators: list[Callable[..., Any]] = []
    while get_origin(hint) is Annotated:
        hint, *metadata = get_args(hint)
        validators += [extra.func for extra in metadata if isinstance(extra, BeforeValidator)]
    return hint, validators


@dataclass(frozen=True, slots=True)
class Value:
    """One value of a resolved scenario: its path as `--set` takes it, its keys as YAML has them, and its text."""

    path: str
    keys: tuple[str | int, ...]
    text: str


def values(scenario: Scenario) -> Iterator[Value]:
    """Every value of a scenario, defaults included, in the model's order."""
    yield from _values(scenario_shape(), scenario, (), ())


def _values(shape: Shape, value: Any, path: tuple[str, ...], keys: tuple[str | int, ...]) -> Iterator[Value]:
    match shape:
        case Choice(tags=tags):
            yield from _values(tags[value.kind], value, path, keys)
        case Record(fields=fields) if value is not None:
            for name, slot in fields.items():
                yield from _values(slot.shape, getattr(value, slot.attribute), (*path, name), (*keys, name))
        case Items(item=item, key=key, lone=lone) if value and not isinstance(item, Leaf):
            called = all_called([getattr(each, key) for each in value] if key else [None] * len(value))
            for index, entry in enumerate(value):
                shorter = path if lone and len(value) == 1 else (*path, called[index])
                yield from _values(item, entry, shorter, (*keys, index))
        case Texts() if value:
            for name, entry in value.items():
                yield Value(".".join((*path, name)), (*keys, name), written(entry))
        case _:
            yield Value(".".join(path), keys, shown(shape, value))


def all_called(names: list[Any]) -> list[str]:
    """How paths call the entries of a list: by its name each that has one of its own, else by its index."""
    often = Counter(name for name in names if isinstance(name, str) and re.match(r"[A-Za-z][\w:-]*$", name))
    return [name if isinstance(name, str) and often[name] == 1 else str(index) for index, name in enumerate(names)]


def shown(shape: Shape, value: Any) -> str:
    """A value of the model as people write it: nanoseconds as `250ms`, and so on."""
    item = shape.item if isinstance(shape, Items) else shape
    if value is None:
        return "null"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(shown(item, entry) for entry in value)}]"
    if isinstance(item, Leaf) and item.what in ("duration", "rate", "size"):
        return with_unit(item.what, value)
    return "{}" if value == {} else written(value)


def written(value: Any) -> str:
    """A plain value as YAML has it; a text in quotes only where it would mean something else."""
    if isinstance(value, bool):
        return str(value).lower()
    return _short(value) if isinstance(value, float) else str(value)


_STEPS: dict[str, tuple[tuple[str, int], ...]] = {
    "duration": (("h", 3600 * 10**9), ("m", 60 * 10**9), ("s", 10**9), ("ms", 10**6), ("us", 10**3), ("ns", 1)),
    "size": (("MiB", 2**20), ("kB", 1000), ("B", 1)),
}


def with_unit(what: str, value: float) -> str:
    """Exact, unlike `units.format_*`: reading it back gives the same value."""
    if what == "rate":
        thousands = value >= 1000 and value % 100 == 0  # noqa: PLR2004 - as 1.5k/s
        return f"{_short(value / 1000)}k/s" if thousands else f"{_short(value)}/s"
    if value == 0:
        return "0s" if what == "duration" else "0B"
    for unit, size in _STEPS[what]:
        if value % size == 0 or (unit == "s" and value > size and value % (size // 1000) == 0):
            return f"{_short(value / size)}{unit}"
    raise AssertionError  # pragma: no cover - the last unit is 1


def _short(number: float) -> str:
    return str(int(number)) if number == int(number) else repr(number)
