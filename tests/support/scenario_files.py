"""Scenario files from numbers: grown from the model's own shape or taken from real ones, then changed in many ways.

`case(n)` is the n-th file; everything about it follows from n. The shape is the model's (fanlab.scenario.shape), so
whatever the model learns, these files speak of too. Some of them are valid, many are nearly so, some are no YAML.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from fanlab.scenario.document import parse, plain
from fanlab.scenario.loader import DEFAULTS
from fanlab.scenario.shape import Choice, Items, Leaf, scenario_shape
from fanlab.seed import rng
from support.hostile import NAMES
from support.scenario_grower import Grower, bounds, gate, keys, path, records, slot_of
from support.scenario_trees import Anchored, Raw, Table, tree_of, write

ROOT = Path(__file__).resolve().parents[2]
MAX_CHANGES = 6
HEAVY_SHARE = 0.3  # of changes that may be one of those that take their time


@dataclass(frozen=True, slots=True)
class Case:
    """One file, how it is loaded, and what was done to it."""

    number: int
    data: bytes
    overrides: tuple[str, ...]
    seed: int | None
    changes: tuple[str, ...]


def case(number: int) -> Case:
    """The file of this number."""
    random = rng(number, "scenario file")
    tree = Grower(random).scenario() if random.random() < 0.5 else tree_of(random.choice(_real()))
    changes = []
    for _ in range(random.choice((0, 0, 0, 0, 1, 1, 1, 2, 3, MAX_CHANGES))):
        change = random.choice(CHANGES if random.random() < HEAVY_SHARE else CHANGES[: -len(HEAVY)])
        change(tree, random)
        changes.append(change.__name__.strip("_"))
    data = write(tree, random).encode("utf-8", "surrogatepass")
    if random.random() < 0.1:
        spoil = random.choice(SPOILS)
        data = spoil(data, random)
        changes.append(spoil.__name__.strip("_"))
    overrides = tuple(_override(random) for _ in range(random.choice((0,) * 12 + (1, 2))))
    seed = random.choice((None,) * 30 + (0, 2**63 - 1, 2**63, 2**200))
    return Case(number, data, overrides, seed, tuple(changes))


def _override(random: Random) -> str:
    """A --set."""
    value = random.choice((*map(str, JUNK), "1", "2s", "5/s", "node-1", "[a, b]", "{a: 1}", "{kind: ramp}", "[1", "*a"))
    where = path(random) if random.random() < 0.9 else str(random.choice((*JUNK[-20:], "..", "x" * 400, "a.-1")))
    return where + random.choice(("=", "=", "=", "=", " = ", "", "==")) + value


@cache
def _real() -> list[Any]:
    files = sorted([*(ROOT / "scenarios").glob("*.yaml"), *(ROOT / "tests/selftest/scenarios").glob("*.yaml")])
    return [plain(parse(file.read_text("utf-8"), file.name).root) for file in files]


# Changing a tree

Change = Callable[[Any, Random], None]

JUNK: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 1.5, -0.0, 10**12, 2**63, 2**64, 10**400, 1e308, float("inf"), float("nan")),
    *(
        "",
        " ",
        "~",
        "null",
        "yes",
        "-",
        "*",
        "&",
        "%",
        "@",
        "`",
        "x" * 300,
        "x" * 5000,
        "\u202e",
        "\u0663/s",
        "\uff150/s",
    ),
    *("12:30", "0o17", "0777", "0x1F", "1_000", "1e3", ".5", "+5", "2024-01-01", "1,000", "\u0661\u0662"),
    *("50", "50/s/s", "-5/s", "1e400/s", "5 /  fortnight", "1e-400/s", "0.0000001/h", "9" * 400 + "/s"),
    *("-5ms", "5", "1m30", "999999h", "1e3s", "0.0001ns", "1h1h1h", "9" * 400 + "s", "1..5s", "5 s", "\u06f5ms"),
    *("128", "1.5B", "-1B", "1GB", "1e9MB", "9" * 400 + "B", "0x10B", "12 B "),
    *("node-0", "node-99", "node-1 ", "NODE-1", "node-\u0663", "news ", "../../etc/passwd", "saboteurs/../websockets"),
    *NAMES,
)


def _walk(tree: Any) -> Iterator[tuple[Any, int]]:
    """Every place of a value: the list or table that holds it, and its index there."""
    stack = [tree]
    while stack:
        holder = stack.pop()
        for index, entry in enumerate(holder):
            yield holder, index
            value = entry[1] if isinstance(holder, Table) else entry
            value = value.value if isinstance(value, Anchored) else value
            if isinstance(value, list):
                stack.append(value)


def _place(tree: Any, random: Random) -> tuple[Any, int]:
    places = list(_walk(tree))
    return random.choice(places) if places else (Table([["name", "x"]]), 0)


def _get(holder: Any, index: int) -> Any:
    return holder[index][1] if isinstance(holder, Table) else holder[index]


def _put(holder: Any, index: int, value: Any) -> None:
    if isinstance(holder, Table):
        holder[index] = [holder[index][0], value]
    else:
        holder[index] = value


def _delete(tree: Any, random: Random) -> None:
    holder, index = _place(tree, random)
    del holder[index]


def _twice(tree: Any, random: Random) -> None:
    holder, index = _place(tree, random)
    holder.insert(random.randint(0, len(holder)), holder[index])


def _many(tree: Any, random: Random) -> None:
    holder, index = _place(tree, random)
    holder.extend([holder[index]] * random.choice((5, 70, 300, 3000)))


def _misspell(tree: Any, random: Random) -> None:
    tables = [holder for holder, _ in _walk(tree) if isinstance(holder, Table)]
    if not tables:
        return
    table = random.choice(tables)
    index = random.randrange(len(table))
    key, value = table[index]
    at = random.randrange(len(key) + 1)
    spelt = (
        key[:at] + key[at + 1 :],
        key[:at] + "x" + key[at:],
        key.upper(),
        key + " ",
        "",
        key.replace("e", "\u0435"),
    )
    table[index] = [random.choice(spelt), value]


def _unknown_key(tree: Any, random: Random) -> None:
    tables = [tree, *(holder for holder, _ in _walk(tree) if isinstance(holder, Table))]
    key = random.choice((random.choice(keys()), "extra", "<<", "__class__", *map(str, JUNK)))
    random.choice(tables).insert(0, [key, random.choice(JUNK)])


def _junk(tree: Any, random: Random) -> None:
    _put(*_place(tree, random), random.choice(JUNK))


def _wrong_type(tree: Any, random: Random) -> None:
    holder, index = _place(tree, random)
    value = _get(holder, index)
    around = Table([[random.choice(("kind", *keys())), value]])
    others = ([value], [], Table(), around, [[value]], str(value))
    _put(holder, index, random.choice(others))


def _nest(tree: Any, random: Random) -> None:
    holder, index = _place(tree, random)
    value = _get(holder, index)
    for _ in range(random.choice((1, 5, 29, 31, 33, 40, 200))):
        value = [value] if random.random() < 0.5 else Table([["a", value]])
    _put(holder, index, value)


def _swap(tree: Any, random: Random) -> None:
    one, two = _place(tree, random), _place(tree, random)
    first, second = _get(*one), _get(*two)
    if not isinstance(first, list) and not isinstance(second, list):  # else one could come to hold itself
        _put(*one, second)
        _put(*two, first)


def _regrow(tree: Any, random: Random) -> None:
    """A part of another scenario in the place of this one's."""
    grower = Grower(random)
    record = random.choice(records())
    part = grower.record(record)
    if random.random() < 0.5:
        _put(*_place(tree, random), part)
        return
    lists = [value for holder, index in _walk(tree) if type(value := _get(holder, index)) is list]
    (random.choice(lists) if lists else []).append(part)


def _more_of_a_list(tree: Any, random: Random) -> None:
    """One more fault, publisher, reader, gate: as the shape has them."""
    name, slot = random.choice([(k, s) for k, s in scenario_shape().fields.items() if isinstance(s.shape, Items)])
    grown = Grower(random).value(slot.shape, name, slot)
    for pair in tree:
        if pair[0] == name and type(pair[1]) is list and type(grown) is list:
            pair[1].extend(grown)
            return
    tree.append([name, grown])


def _anchor(tree: Any, random: Random) -> None:
    holder, index = _place(tree, random)
    value = _get(holder, index)
    if isinstance(value, Anchored | Raw):
        return
    name = random.choice("abc")
    _put(holder, index, Anchored(name, value))
    for _ in range(random.choice((0, 1, 1, 2, 40))):
        where, at = _place(tree, random)
        if not isinstance(_get(where, at), Anchored):
            _put(where, at, Raw(f"*{name}")) if random.random() < 0.7 else where.append(
                ["<<", Raw(f"*{name}")] if isinstance(where, Table) else Raw(f"*{name}")
            )


def _bomb(tree: Any, random: Random) -> None:
    wide = random.choice((2, 9, 30))
    bomb: list[Any] = [["l0", Anchored("l0", ["lol"] * wide)]]
    levels = range(1, random.choice((2, 9, 30)))
    bomb += [[f"l{level}", Anchored(f"l{level}", [Raw(f"*l{level - 1}")] * wide)] for level in levels]
    tree[0:0] = bomb


def _tag(tree: Any, random: Random) -> None:
    holder, index = _place(tree, random)
    value = _get(holder, index)
    if not isinstance(value, list | Anchored | Raw):
        tags = ("!!int", "!!float", "!!str", "!!bool", "!!null", "!!binary", "!!timestamp", "!!set", "!", "!secret")
        tags = (*tags, "!!python/object/apply:os.system", "!<tag:yaml.org,2002:int>", "!e!x", "!!python/name:os.system")
        _put(holder, index, Raw(f"{random.choice(tags)} {json.dumps(str(value), ensure_ascii=False)}"))


GOOD_AXES = (
    ("topology.nodes.count", [2, 3]),
    ("seed", [1, 2, 3]),
    ("phases.measure", ["6s", "7s"]),
    ("publishers.0.rate", ["5/s", "9/s"]),
    ("clients.0.count", [3, 4, 5, 6]),
    ("limits.cpu", [0.5, 0.6]),
    ("expect", list(NAMES[:4])),
)


def _good_matrix(tree: Any, random: Random) -> None:
    tree.append(["matrix", Table([[path, list(values)] for path, values in random.sample(GOOD_AXES, 2)])])


def _matrix(tree: Any, random: Random) -> None:
    axes = Table()
    for _ in range(random.choice((1, 1, 2, 3))):
        some = (*JUNK, 1, 2, 3, "1s", "2s", "5/s", "7/s", "node-1")
        grown = [random.choice(some) for _ in range(random.randint(1, 5))]
        axes.append([path(random), random.choice((grown, grown, grown, [1, 2, 3], Table(), 5))])
    tree.append(["matrix", random.choice((axes, axes, axes, axes, [axes], None))])


def _wide_matrix(tree: Any, random: Random) -> None:
    axes = Table([[path(random), list(range(1, random.choice((3, 8, 65, 2000))))] for _ in range(random.randint(1, 3))])
    tree.append(["matrix", axes])


def _defaults(tree: Any, random: Random) -> None:
    parts = Table()
    for name in random.sample((*DEFAULTS, "topology", "extra"), random.randint(1, 3)):
        grown = Grower(random).record(random.choice(records()))
        parts.append([name, random.choice((grown, grown, grown, [grown], 5, None))])
    tree.append(["defaults", parts])


def _gates(tree: Any, random: Random) -> None:
    tree.append(["gates", [gate(random, wild=True) for _ in range(random.choice((1, 3, 200)))]])


def _as_number(tree: Any, random: Random) -> None:
    """A number in another notation."""
    numbers = [(holder, index) for holder, index in _walk(tree) if type(_get(holder, index)) is int]
    if numbers:
        holder, index = random.choice(numbers)
        value = _get(holder, index)
        ways = (f"0x{abs(value):x}", f"0o{abs(value):o}", f"+{value}", f"{value}.0", f"{value}e0", f"00{value}")
        _put(holder, index, Raw(random.choice((*ways, f"{value}_0"))))


def _extreme(tree: Any, random: Random) -> None:
    """A value that its field just takes, or just does not."""
    record = random.choice(records())
    numbers = [(n, s) for n, s in record.fields.items() if isinstance(s.shape, Leaf) and "number" in s.shape.what]
    if numbers:
        name, slot = random.choice(numbers)
        low, high = map(int, bounds(slot))
        for pair in [holder[index] for holder, index in _walk(tree) if isinstance(holder, Table)]:
            if pair[0] == name:
                pair[1] = random.choice((low, high, low - 1, high + 1))


def _long(tree: Any, random: Random) -> None:
    """Everything lasts, and comes fast."""
    for holder, index in list(_walk(tree)):
        value = _get(holder, index)
        if isinstance(value, str) and re.fullmatch(r"[\d.]+(ms|s)", value):
            _put(holder, index, random.choice((value, "1h", "900h", "999h", "1ns")))
        elif isinstance(value, str) and value.endswith("/s"):
            _put(holder, index, random.choice((value, "1/s", "100k/s", "1M/s", "1/h", "1e300/s", "1e-300/s")))


def _crowd(tree: Any, random: Random) -> None:
    """Very many groups and publishers, all of them good."""
    grower, channels = Grower(random), ["news", "jobs"]
    joins = [["join", "1s"], ["spawn_rate", random.choice(("1/s", "1k/s"))]] if random.random() < 0.5 else []
    groups, publishers = random.choice(((20, 20), (20, 20), (60, 60), (200, 200), (480, 5), (5, 900)))
    rate, count = grower.value(slot_of("publishers", "rate").shape, "rate"), random.choice((1, 3, 10))
    _set(tree, "channels", channels)
    _set(tree, "clients", [
        Table([["group", f"g{n}"], ["count", count], ["channels", channels[n % 2 :]], *joins]) for n in range(groups)
    ])  # fmt: skip
    _set(tree, "publishers", [
        Table([["name", f"p{n}"], ["channel", channels[n % 2]], ["rate", rate], ["count", count]])
        for n in range(publishers)
    ])  # fmt: skip
    for key in ("readers", "gates", "faults"):
        _set(tree, key, [])


def _storm(tree: Any, random: Random) -> None:
    """Very many faults, one after the other, on very many nodes, whose clients hardly wait."""
    grower, nodes = Grower(random), random.choice((3, 50, 1000))
    faults = scenario_shape().fields["faults"].shape
    assert isinstance(faults, Items)
    assert isinstance(faults.item, Choice)
    kind, record = random.choice(list(faults.item.tags.items()))
    target = random.choice(("all", "one", "minority", "node-1", [f"node-{n + 1}" for n in range(min(nodes, 30))]))
    written = []
    for turn in range(random.choice((10, 200))):
        told = {"kind": kind, "at": f"{turn * 20}ms", "for": "15ms", "target": target}
        fixed = {key: value for key, value in told.items() if key in record.fields}
        written.append(Table(map(list, (dict(grower.record(record)) | fixed).items())))
    if random.random() < 0.5:
        written[-1] = Table(pair for pair in written[-1] if pair[0] != "for")
    _set(tree, "faults", written)
    _set(tree, "topology", Table([["nodes", Table([["kind", "websockets"], ["count", nodes]])]]))
    _set(tree, "phases", Table([["measure", random.choice(("8s", "8s", "8s", "900h"))]]))
    wait = Table([["initial", random.choice(("1ns", "17us", "100ms"))], ["factor", 1.0], ["max", "100ms"]])
    _set(tree, "reconnect", wait, of="clients")
    _set(tree, "failover", random.choice(("round-robin", "sticky", "least-connections")), of="clients")
    for key in ("readers", "gates"):
        _set(tree, key, [])


def _set(tree: Any, key: str, value: Any, of: str | None = None) -> None:
    """Put a value at a key of the scenario, or of each entry of one of its lists."""
    if of is None:
        tree[:] = [pair for pair in tree if pair[0] != key] + [[key, value]]
        return
    for name, entries in tree:
        for entry in entries if name == of and isinstance(entries, list) else ():
            if isinstance(entry, Table):
                _set(entry, key, value)


HEAVY: tuple[Change, ...] = (_crowd, _storm)
CHANGES: tuple[Change, ...] = (
    *(_delete, _twice, _many, _misspell, _unknown_key, _junk, _junk, _wrong_type, _nest, _swap, _regrow),
    *(_more_of_a_list, _more_of_a_list, _anchor, _bomb, _tag, _good_matrix, _matrix, _wide_matrix, _defaults, _gates),
    *(_as_number, _extreme, _long, *HEAVY),
)


# Spoiling the bytes

Spoil = Callable[[bytes, Random], bytes]


def _cut(data: bytes, random: Random) -> bytes:
    return data[: random.randrange(len(data) + 1)]


def _stray_bytes(data: bytes, random: Random) -> bytes:
    odd = (b"\0", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\x1b[2J", b"\x07", b"\x85", b"\xe2\x80\xa8", b"\t", b"\x7f")
    marks = (b": ", b"- ", b"'", b'"', b"{", b"]", b"|", b"#", b"\r", b"\n", b"&a ", b"*a ", b"!x ", b"? ", b"<<: ")
    at = random.randrange(len(data) + 1)
    return data[:at] + random.choice((*odd, *marks)) + data[at:]


def _flip(data: bytes, random: Random) -> bytes:
    if not data:
        return data
    at = random.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :]


def _dos(data: bytes, random: Random) -> bytes:
    return data.replace(b"\n", random.choice((b"\r\n", b"\r")))


def _head(data: bytes, random: Random) -> bytes:
    other_kinds = (b"\xef\xbb\xbf", b"\xff\xfe", b"\x89PNG", b"PK\x03\x04", b"\x1f\x8b", b"{", b"[", b"# ")
    yaml = (b"%YAML 1.1\n---\n", b"%YAML 9.9\n---\n", b"---\n", b"--- ", b"%TAG ! tag:x,2000:\n---\n", b"...\n")
    return random.choice((*other_kinds, *yaml)) + data


def _tail(data: bytes, random: Random) -> bytes:
    ends = (b"---\n", b"---\nname: y\n", b"...\n", b"... junk", b"}", b"name: again\n")
    return data + b"\n" + random.choice(ends)


def _indent(data: bytes, random: Random) -> bytes:
    lines = data.split(b"\n")
    at = random.randrange(len(lines))
    lines[at] = random.choice((b" ", b"   ", b"\t", b"\xc2\xa0")) + lines[at]
    return b"\n".join(lines)


def _pad(data: bytes, random: Random) -> bytes:
    return data + random.choice((b" ", b"#", b"\n", b"a", b"- ")) * random.choice((1_000, 200_000, 300_000))


def _utf16(data: bytes, _: Random) -> bytes:
    return data.decode("utf-8", "replace").encode("utf-16")


def _nothing_left(_: bytes, random: Random) -> bytes:
    return random.choice((b"", b"\n", b"# only a comment\n", b"---\n", b"null", b"5", b"[]", b"{}", b"name", b"\0" * 9))


SPOILS: tuple[Spoil, ...] = (
    *(_cut, _cut, _stray_bytes, _stray_bytes, _stray_bytes, _flip, _flip, _dos, _head, _tail, _indent, _indent),
    *(_pad, _utf16, _nothing_left),
)
