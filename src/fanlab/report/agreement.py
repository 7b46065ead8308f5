"""Whether the two checkers agree, as a table for people and as JSON for scripts."""

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fanlab.agreement import Agreement, Compared, Difference
from fanlab.analysis.names import Names
from fanlab.clock import NS_PER_S
from fanlab.report import text

_BUG = "one of them has a bug: please report it, with the run directory"


def table(found: Agreement, names: Names, zero_ns: int) -> RenderableType:
    """Each count of the measure phase, those of warm-up and caches that differ, and the first messages that do."""
    grid = Table("term", box=None, pad_edge=False)
    for title in ("ledger", "SQL"):
        grid.add_column(title, justify="right")
    grid.add_column("agree")
    for one in found.counts:
        of_clients = one.phase == "measure" and one.cache is None
        differing = found.differing.get(one.term, 0) if of_clients else 0
        if of_clients or not one.agrees:
            grid.add_row(Text(_term(one)), Text(str(one.ledger)), Text(str(one.sql)), _mark(one, differing))
    parts: list[RenderableType] = [grid, Text("")]
    parts += [Text(_describe(one, names, zero_ns)) for one in found.differences]
    if found.agrees:
        parts.append(Text("The ledger and the SQL checker agree on every count, and on every message of every set."))
    else:
        much = f"{found.differing_counts} counts and {found.differing_messages} messages"
        parts.append(Text(f"The ledger and the SQL checker differ in {much}; {_BUG}."))
    return Group(*parts)


def to_json(found: Agreement, names: Names, zero_ns: int) -> dict[str, Any]:
    """The same for scripts; `differing` counts messages that only one of the two has, by term."""
    return {
        "agrees": found.agrees,
        "counts": [
            {"phase": one.phase, "term": one.term, "ledger": one.ledger, "sql": one.sql}
            | ({} if one.cache is None else {"cache": one.cache})
            for one in found.counts
        ],
        "differing": dict(found.differing),
        "differences": [
            {
                "term": one.term,
                "only": one.only,
                "client": one.client,
                "publisher": _publisher(one, names),
                "channel": names.channel_of(one.stream),
                "seq": one.seq,
                "received_s": None if one.received_ns is None else round((one.received_ns - zero_ns) / NS_PER_S, 9),
            }
            for one in found.differences
        ],
    }


def _term(one: Compared) -> str:
    if one.cache is not None:
        return f"{text.label(one.term)} (cache of {text.clean(one.cache, 40)})"
    return one.term if one.phase == "measure" else f"{one.term} (warm-up)"


def _mark(one: Compared, differing: int) -> Text:
    if one.agrees and not differing:
        return Text("yes")
    return Text(f"no: {differing} messages" if differing else "no", style="red")


def _describe(one: Difference, names: Names, zero_ns: int) -> str:
    message = f"client {one.client}, {_publisher(one, names)} on {names.channel_of(one.stream)}, seq {one.seq}"
    came = "" if one.received_ns is None else f", received at {(one.received_ns - zero_ns) / NS_PER_S:.9f} s"
    return f"{one.term} by the {one.only} only: {message}{came}"


def _publisher(one: Difference, names: Names) -> str:
    streams = names.plan.streams
    return streams[one.stream].publisher if one.stream < len(streams) else f"publisher #{one.stream}"
