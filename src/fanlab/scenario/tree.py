"""Changing a file's tree: short forms written out, defaults merged in, values put at a path. Pure; trees are shared."""

from dataclasses import replace

from fanlab.scenario.document import Entry, Listing, Node, Place, Scalar, Table
from fanlab.scenario.findings import Keys, nearest
from fanlab.scenario.shape import Choice, Items, Leaf, Record, Shape, Slot, Texts, all_called

_MAX_PATH = 300


class PathError(Exception):
    """A dotted path that leads nowhere; `suggestion` is a key or name that was probably meant."""

    def __init__(self, what: str, suggestion: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.suggestion = suggestion


def normalise(node: Node, shape: Shape) -> Node:
    """Write short forms out, as the model has them: a lone entry becomes a list, a bare rate a mapping."""
    match shape, node:
        case Items(lone=True, item=item), Table():
            return Listing((normalise(node, item),), node.place, lone=True)
        case Items(item=item), Listing(items=items) if not isinstance(item, Leaf):
            return replace(node, items=tuple(normalise(entry, item) for entry in items))
        case Choice(short=str()), Scalar():
            return Table({"rate": Entry(node.place, node)}, node.place, short=True)
        case ((Record() | Choice()), Table(entries=entries)):
            fields = _record(shape, node).fields if isinstance(shape, Choice) else shape.fields
            named = {
                key: replace(entry, node=normalise(entry.node, fields[key].shape)) if key in fields else entry
                for key, entry in entries.items()
            }
            return replace(node, entries=named)
        case _:
            return node


def merged(node: Node, defaults: Node, shape: Shape) -> Node:
    """`node` with what it leaves out taken from `defaults`, mapping by mapping; lists are taken whole or not at all.

    Where the kind decides which keys there are, a default that only other kinds know is left out.
    """
    if not isinstance(node, Table) or not isinstance(defaults, Table):
        return node
    entries = dict(node.entries)
    if isinstance(shape, Choice) and "kind" not in entries and "kind" in defaults.entries and not node.short:
        entries["kind"] = defaults.entries["kind"]
    record = _record(shape, Table(entries, node.place))
    elsewhere = shape.fields if isinstance(shape, Choice) else {}
    for key, entry in defaults.entries.items():
        if key in entries:
            slot = record.fields.get(key)
            if slot is not None and not isinstance(slot.shape, Texts | Leaf | Items):
                entries[key] = replace(entries[key], node=merged(entries[key].node, entry.node, slot.shape))
        elif key in record.fields or key not in elsewhere:
            entries[key] = entry
    return replace(node, entries=entries, short=node.short and len(entries) == 1)


def resolve(path: str, root: Node, shape: Shape) -> tuple[Keys, Slot | Leaf]:
    """The keys that a dotted path such as `clients.readers.count` stands for in this tree, and what goes there.

    Entries of lists are called by index or by name; a name may hold dots. Raises PathError.
    """
    if len(path) > _MAX_PATH:
        raise PathError(f"a path has at most {_MAX_PATH} characters")
    keys: list[str | int] = []
    segments = path.split(".")
    node: Node | None = root
    slot: Slot | None = None
    while segments:
        at = ".".join(path.split(".")[: len(path.split(".")) - len(segments)])
        match shape:
            case Items(item=item):
                index, used = _entry(segments, node, shape, at)
                keys.append(index)
                segments = segments[used:]
                node = node.items[index] if isinstance(node, Listing) else None
                shape = item
            case Texts():
                keys.append(".".join(segments))
                return tuple(keys), Leaf("text")
            case Record() | Choice():
                name = segments.pop(0)
                fields = shape.fields
                if name not in fields:
                    raise PathError(_unknown(name, at), nearest(name, fields))
                keys.append(name)
                if isinstance(shape, Choice) and isinstance(node, Table):
                    fields = {**fields, **_record(shape, node).fields}
                slot = fields[name]
                node = node.entries[name].node if isinstance(node, Table) and name in node.entries else None
                shape = slot.shape
            case Leaf():
                raise PathError(f"{at} is a single value; nothing stands below it")
    if slot is None or isinstance(keys[-1], int):
        return tuple(keys), Leaf("entry") if not isinstance(shape, Leaf) else shape
    return tuple(keys), slot


def put(root: Node, keys: Keys, value: Node, shape: Shape) -> Node:
    """The tree with `value` at `keys`; mappings on the way are made where there are none."""
    if not keys:
        return normalise(value, shape)
    key, rest = keys[0], keys[1:]
    if isinstance(key, int):
        if not isinstance(root, Listing) or not isinstance(shape, Items):
            return root  # resolve() has looked: the list was replaced by something else, which is reported as such
        items = list(root.items)
        if key < len(items):
            items[key] = put(items[key], rest, value, shape.item)
        return replace(root, items=tuple(items))
    table = root if isinstance(root, Table) else Table({}, value.place)
    entry = table.entries.get(key, Entry(value.place, Table({}, value.place)))
    below = _below(shape, key, table)
    node = put(entry.node, rest, value, below) if below else value
    return replace(
        table, entries={**table.entries, key: Entry(entry.place if rest else value.place, node)}, short=False
    )


def without(root: Node, keys: Keys) -> Node:
    """The tree without the mapping entry at `keys`; the same tree where there is none."""
    key, rest = keys[0], keys[1:]
    if isinstance(root, Listing) and isinstance(key, int) and rest and key < len(root.items):
        items = list(root.items)
        items[key] = without(items[key], rest)
        return replace(root, items=tuple(items))
    if isinstance(root, Table) and key in root.entries:
        entries = dict(root.entries)
        entry = entries.pop(str(key))
        if rest:
            entries[str(key)] = replace(entry, node=without(entry.node, rest))
        return Table({name: entries[name] for name in root.entries if name in entries}, root.place)
    return root


def find(root: Node, keys: Keys) -> tuple[Node, Entry | None, bool]:
    """The node at `keys`, its entry if it is in a mapping, and whether it was found: else the last one on the way."""
    node, entry = root, None
    for key in keys:
        if isinstance(node, Table) and key in node.entries:
            entry = node.entries[str(key)]
            node = entry.node
        elif isinstance(node, Listing) and isinstance(key, int) and key < len(node.items):
            node, entry = node.items[key], None
        else:
            return node, entry, False
    return node, entry, True


def dotted(root: Node, keys: Keys, shape: Shape) -> str:
    """Keys as a person writes them: entries of lists by their names, short forms without what they leave unsaid."""
    parts: list[str] = []
    node: Node | None = root
    at: Shape | None = shape
    for key in keys:
        if isinstance(node, Listing) and isinstance(key, int):
            if not node.lone:
                parts.append(all_called(_names(node, at))[key] if isinstance(at, Items) and at.key else str(key))
            node = node.items[key] if key < len(node.items) else None
            at = at.item if isinstance(at, Items) else None
        elif isinstance(node, Table):
            if not (node.short and key == "rate"):
                parts.append(str(key))
            at = _below(at, str(key), node) if at else None
            node = node.entries[str(key)].node if key in node.entries else None
        else:
            parts.append(str(key))
            node = None
    return printable(".".join(parts))


def printable(path: str, limit: int = 120) -> str:
    """A path as an error can show it: an author's keys may hold anything, at any length."""
    shown = "".join(character if character.isprintable() else "?" for character in path[:limit])
    return shown if len(path) <= limit else shown[:-3] + "..."


def _below(shape: Shape, key: str, table: Table) -> Shape | None:
    match shape:
        case Record(fields=fields):
            return fields[key].shape if key in fields else None
        case Choice(fields=fields):
            own = _record(shape, table).fields
            return own[key].shape if key in own else fields[key].shape if key in fields else None
        case Texts():
            return Leaf("text")
        case _:
            return None


def _record(shape: Shape, table: Table) -> Record:
    """The record that a mapping is, by its kind where that decides."""
    if isinstance(shape, Record):
        return shape
    if not isinstance(shape, Choice):
        raise TypeError(f"{shape} is no mapping")
    kind = table.entries["kind"].node if "kind" in table.entries else None
    tag = kind.value if isinstance(kind, Scalar) else shape.short
    return (
        shape.tags[tag]
        if isinstance(tag, str) and tag in shape.tags
        else Record(next(iter(shape.tags.values())).model, {})
    )


def _names(listing: Listing, shape: Items) -> list[object]:
    """What each entry of a list is called, None where it has no name."""
    names: list[object] = []
    for item in listing.items:
        entry = item.entries.get(shape.key or "") if isinstance(item, Table) else None
        names.append(entry.node.value if entry and isinstance(entry.node, Scalar) else None)
    return names


def _entry(segments: list[str], node: Node | None, shape: Items, at: str) -> tuple[int, int]:
    """The index of the entry that the next segments call, and how many of them do."""
    items = node.items if isinstance(node, Listing) else ()
    if segments[0].isdecimal() and len(segments[0]) < 6:  # noqa: PLR2004 - no list is longer
        if int(segments[0]) < len(items):
            return int(segments[0]), 1
        has = f"the last one is {len(items) - 1}" if items else "it is empty"
        raise PathError(f"{at} has no entry {segments[0]}; {has}")
    names = _names(node, shape) if isinstance(node, Listing) and shape.key else []
    for used in range(len(segments), 0, -1):
        name = ".".join(segments[:used])
        if names.count(name) == 1:
            return names.index(name), used
        if name in names:
            raise PathError(f"{at} has several entries called {name!r}; say which by its number, from 0")
    if len(items) == 1 and shape.lone:
        return 0, 0  # topology.nodes.count, where one group is all there is
    known = [name for name in names if isinstance(name, str)]
    if shape.key:
        raise PathError(f"{at} has no entry called {segments[0]!r}", nearest(segments[0], known))
    raise PathError(f"{at} is a list; say which entry by its number, from 0")


def _unknown(name: str, at: str) -> str:
    return f"there is no key {name!r} in {at}" if at else f"a scenario has no key {name!r}"


def place_of(root: Node, keys: Keys, *, key: bool = False) -> Place:
    """Where the value at `keys` was written (or its key), or the nearest thing around it that was written."""
    node, entry, found = find(root, keys)
    return entry.place if key and found and entry else node.place
