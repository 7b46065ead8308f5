"""The field tables of docs/scenario-file.md, made from the model; `python -m` with the file's name rewrites them."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from fanlab.scenario.shape import Choice, Items, Leaf, Record, Shape, Slot, Texts, scenario_shape, shown

_BLOCK = re.compile(r"(<!-- fields: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def with_tables(document: str) -> str:
    """The document with the table between each `<!-- fields: Part -->` and `<!-- end -->` made anew."""
    tables = {part.model.__name__: table(part) for part in records(scenario_shape())}
    return _BLOCK.sub(lambda block: f"{block[1]}{tables[block[2]]}{block[3]}", document)


def records(shape: Shape) -> Iterator[Record]:
    """Every mapping of the model."""
    match shape:
        case Record(fields=fields):
            yield shape
            for slot in fields.values():
                yield from records(slot.shape)
        case Choice(tags=tags):
            for tagged in tags.values():
                yield from records(tagged)
        case Items(item=item):
            yield from records(item)


def table(part: Record) -> str:
    """A Markdown table of a mapping's keys."""
    rows = [
        f"| `{name}` | {_takes(slot.shape)} | {_default(slot)} | {slot.info.description or ''} |\n"
        for name, slot in part.fields.items()
    ]
    return "".join(["| key | takes | default | meaning |\n| --- | --- | --- | --- |\n", *rows])


def _takes(shape: Shape) -> str:  # noqa: PLR0911 - one return per kind of shape
    match shape:
        case Leaf(what="true or false"):
            return "`true` or `false`"
        case Leaf(what="choice", choices=choices):
            return " or ".join(f"`{choice}`" for choice in choices)
        case Leaf(what=what, or_list=or_list):
            return f"{what} or list" if or_list else what
        case Texts():
            return "name: text"
        case Items(item=Leaf(what=what)):
            return f"list of {what}s"
        case Items(lone=lone):
            return "mapping, or list of them" if lone else "list of mappings"
        case Choice(short=str()):
            return "rate, or mapping"
        case _:
            return "mapping"


def _default(slot: Slot) -> str:
    if slot.info.is_required():
        return "needed"
    default = slot.info.get_default(call_default_factory=True)
    if default is None or isinstance(slot.shape, Record) or default == "":
        return ""
    return f"`{shown(slot.shape, default)}`"


if __name__ == "__main__":
    for name in sys.argv[1:]:
        Path(name).write_text(with_tables(Path(name).read_text(encoding="utf-8")), encoding="utf-8")
