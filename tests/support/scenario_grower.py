"""Scenarios grown from the model's own shape: whatever the model learns, these speak of it too."""

import math
from collections.abc import Callable, Iterator
from functools import cache
from random import Random
from typing import Any, get_args

from pydantic.fields import FieldInfo

from fanlab import resources
from fanlab.scenario.gatefields import FIELDS
from fanlab.scenario.shape import Choice, Items, Leaf, Record, Shape, Slot, Texts, scenario_shape
from support.hostile import NAMES
from support.scenario_trees import Table

OFTEN = 0.35  # the share of keys given that need not be
NEEDED = ("clients", "kind", "objects")  # without which little else is of use
CHANNELS = ("news", "jobs", "user:updated", "a.b-c_d", "x")
LONGER = ("measure", "deadline", "max", "ping_interval", "ping_timeout", "timeout")  # than the others, to fit
DURATIONS = ("1ms", "20ms", "250ms", "1s", "1.5s", "2s", "3s", "17us", "4.5s", "0.5s", "2s", 0)
RATES = ("1/s", "50/s", "2k/s", "30/min", "0.5/s", "100 / s", "1e2/s", "7/s", "60/min")
SIZES = (200, 128, "128B", "200B", "1kB", "64kB", "1MiB", "1KiB")
TEXTS = ("What is lost?", "Nothing.", "a: b # c", "ünïcödé ☃ 🎈", *NAMES)
SETTINGS = ("maxmemory", "hz", "AUTH_TOKEN", "SLOW_CLIENT", "REDIS_LAG_MS", "ü", "a b", "X_1", "Y_2")


class Grower:
    """Makes values that the model takes, mostly; what refers to something mostly refers to what there is."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.channels = random.sample(CHANNELS, random.randint(1, 4))
        self.nodes = random.choice((1, 2, 3, 3, 5, 40))
        self.serial = 0

    def scenario(self) -> Table:
        """A whole scenario."""
        fixed = {"channels": list(self.channels), "topology": self.topology()}
        return Table([[key, fixed.get(key, value)] for key, value in self.record(scenario_shape())])

    def topology(self) -> Table:
        """As many nodes as faults and clients speak of, in one group, and any Redis."""
        shape = scenario_shape().fields["topology"].shape
        assert isinstance(shape, Record)
        grown = dict(self.record(shape))
        written = grown.pop("nodes")
        group = dict(written if isinstance(written, Table) else written[0]) | {"count": self.nodes}
        return Table([["nodes", Table(map(list, group.items()))], *map(list, grown.items())])

    def record(self, shape: Record) -> Table:
        """All keys that must be there, and some of the others."""
        fields = shape.fields.items()
        given = [each for each in fields if self.is_given(*each)]
        return Table([[name, self.value(slot.shape, name, slot)] for name, slot in given])

    def is_given(self, name: str, slot: Slot) -> bool:
        """Whether a key is written this time."""
        return slot.info.is_required() or name in NEEDED or self.random.random() < OFTEN

    def value(self, shape: Shape, key: str, slot: Slot | None = None) -> Any:
        """A value of a shape; `key` is where it goes, for what only its name tells."""
        if slot is not None and slot.optional and self.random.random() < 0.1:
            return None
        match shape:
            case Record():
                grown: Any = self.record(shape)
            case Choice(tags=tags, short=short):
                grown = self.choice(tags, bare=short is not None and self.random.random() < 0.6)
            case Items():
                grown = self.items(shape, key)
            case Texts():
                names = self.random.sample(SETTINGS, self.random.randint(0, 4))
                grown = Table([[name, self.random.choice(("1", "yes", 5, 1.5, True, "", *NAMES))] for name in names])
            case Leaf(or_list=True) if self.random.random() < 0.3:
                grown = self.some(self.pool("nodes"), 2)
            case _:
                grown = self.leaf(shape, key, slot)
        return grown

    def choice(self, tags: dict[str, Record], *, bare: bool) -> Any:
        """One of several records with its kind, or what stands for one."""
        if bare:
            return self.random.choice(RATES)
        tag = self.random.choice(list(tags))
        return Table([["kind", tag], *(pair for pair in self.record(tags[tag]) if pair[0] != "kind")])

    def items(self, shape: Items, key: str) -> Any:
        """A list, or what stands for one."""
        if shape.lone and self.random.random() < 0.5:
            return self.value(shape.item, key)
        count = self.random.choice((1, 1, 1, 2, 3, 12))
        if key == "steps":
            return [Table([["at", f"{at}s"], ["rate", self.random.choice(RATES)]]) for at in range(count)]
        if isinstance(shape.item, Leaf) and key in ("channels", "nodes"):
            return self.some(self.pool(key), count)
        return [self.value(shape.item, key) for _ in range(count)]

    def some(self, pool: list[str], count: int) -> list[str]:
        """Different ones of a pool, as many as asked for where it has so many."""
        return self.random.sample(pool, min(count, len(pool)))

    def pool(self, key: str) -> list[str]:
        """What a name at this key may be."""
        if key in ("channel", "channels"):
            return self.channels
        if key == "kind":
            return _kinds()
        nodes = [f"node-{number + 1}" for number in range(self.nodes)]
        return nodes if key == "nodes" else [*nodes, "one", "minority", "all"]

    def leaf(self, leaf: Shape, key: str, slot: Slot | None) -> Any:
        """A single value."""
        assert isinstance(leaf, Leaf)
        kinds: dict[str, Callable[[], Any]] = {
            "duration": lambda: self.random.choice(("5s", "8s", "1m30s") if key in LONGER else DURATIONS),
            "rate": lambda: self.random.choice(RATES),
            "size": lambda: self.random.choice(SIZES),
            "choice": lambda: self.random.choice(leaf.choices),
            "true or false": lambda: self.random.choice((True, False)),
            "whole number": lambda: self.whole(slot),
            "number": lambda: self.number(slot),
            "text": lambda: self.text(key),
        }
        return kinds[leaf.what]()

    def whole(self, slot: Slot | None) -> int:
        """A whole number, not far above the least that will do."""
        low, high = bounds(slot)
        return self.random.randint(math.floor(low) + 1, min(math.floor(high), math.floor(low) + 60))

    def number(self, slot: Slot | None) -> float:
        """Any number, likewise."""
        low, high = bounds(slot)
        return round(self.random.uniform(low + 0.01, min(high, low + 3) - 0.01), 2)

    def text(self, key: str) -> str:
        """A text: a name where one is wanted, a gate where one is."""
        if key in ("name", "group"):
            self.serial += 1
            return f"{self.random.choice(('readers', 'ticker', 'a', 'x.y', 'feed:1'))}-{self.serial}"
        if key == "gates":
            return gate(self.random)
        return self.random.choice(TEXTS)[:400] if key in ("question", "expect") else self.random.choice(self.pool(key))


def bounds(slot: Slot | None) -> tuple[float, float]:
    """The least and the greatest number that a field takes, or nearly takes, as far as it says."""
    low, high = 0.0, 2.0**31
    for constraint in _constraints(slot.info) if slot else ():
        low = max([low, *(each for name in ("ge", "gt") if (each := getattr(constraint, name, None)) is not None)])
        high = min([high, *(each for name in ("le", "lt") if (each := getattr(constraint, name, None)) is not None)])
    return low, high


def _constraints(info: FieldInfo) -> list[Any]:
    """What a field asks of its value, wherever in its annotation that stands."""
    found, hints = list(info.metadata), [info.annotation]
    while hints:
        hint = hints.pop()
        hints += get_args(hint)
        if isinstance(hint, FieldInfo):
            found += hint.metadata
    return found


def gate(random: Random, *, wild: bool = False) -> str:
    """A gate: a good one, or half of the time a `wild` one."""
    star = random.choice(("node-77", "", "a.b", "*", "node-1")) if wild else "node-1"
    others = ("by_channel", "by_group", "by_fault")  # of which node-1 is none
    fields = [name for name in FIELDS if wild or not any(other in name for other in others)]
    field = random.choice(fields).replace("*", star)
    operator, number = random.choice(("==", "!=", "<", "<=", ">", ">=", " == ")), random.choice(("0", "2.5", "1e3"))
    if wild and random.random() < 0.5:
        odd = (
            "lost(node=node-1)",
            "lost()",
            "lost(((",
            "lost(=)",
            "x(fault='",
            "p99(a=b=c)",
            "(node-1)",
            "lost(node-1).x",
        )
        fields = [field, "latency.p99", "ledger", ".", "loss.by_node", "__class__", "a" * 199, "(" * 50, *NAMES, *odd]
        numbers = (
            "0 else abort",
            "5 else abort after",
            "5ms else abort after 1",
            "50ms",
            "0.5%",
            "2k",
            "1.5s",
            "-1",
            "1_000",
            "1e400",
            "nan",
            "",
            "5 apples",
            "0x10",
            "9" * 150,
        )
        field, number = random.choice(fields), random.choice(numbers)
        operator = random.choice((operator, "=", "=>", "<>", "~", " "))
    return f"{field}{operator}{number}"


def path(random: Random) -> str:
    """A dotted path to a value: one that some scenario has."""
    segments = random.choice(_paths()).split(".")
    return ".".join(random.choice(("0", "0", "readers", "ticker", "7", "x")) if s == "*" else s for s in segments)


def slot_of(part: str, key: str) -> Slot:
    """One key of the entries of one of the scenario's lists."""
    items = scenario_shape().fields[part].shape
    assert isinstance(items, Items)
    assert isinstance(items.item, Record | Choice)
    return items.item.fields[key]


@cache
def _kinds() -> list[str]:
    return list(resources.node_folders())


@cache
def records() -> list[Record]:
    """Every mapping of the model."""
    return [shape for _, shape in _below(scenario_shape(), "") if isinstance(shape, Record)]


@cache
def keys() -> list[str]:
    """Every key of the model."""
    return sorted({name for record in records() for name in record.fields})


@cache
def _paths() -> list[str]:
    named = {at + (".AUTH_TOKEN" if isinstance(shape, Texts) else "") for at, shape in _below(scenario_shape(), "")}
    return sorted(named - {""})


def _below(shape: Shape, at: str) -> Iterator[tuple[str, Shape]]:
    """Every part of a shape with its path; `*` stands for an entry of a list."""
    yield at, shape
    match shape:
        case Record(fields=fields):
            for name, slot in fields.items():
                yield from _below(slot.shape, f"{at}.{name}" if at else name)
        case Choice(tags=tags):
            for record in tags.values():
                yield from _below(record, at)
        case Items(item=item, lone=lone):
            yield from _below(item, f"{at}.*")
            if lone:
                yield from _below(item, at)
