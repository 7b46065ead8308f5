"""From a run directory to tables: what the journals say, as they say it."""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from fanlab.crosscheck.frames import (
    DELIVERY,
    HEARTBEAT,
    INTENT,
    OUTCOME,
    READ,
    WITNESS_RECORD,
    Row,
    Stripe,
    objects,
    records,
)
from fanlab.crosscheck.tokens import guesses

NEVER: Final = 1 << 62  # later than any time of a run
WITNESS: Final = "witness.stripe"  # what Redis sent: no client's and no publisher's word
NO_NODE: Final = 0xFFFF
KEPT: Final = 64  # bytes of a damaged copy, at most
MARK: Final = 19  # characters of a token that a node's journal quotes
ENDS: Final = frozenset({"crash", "stop"})  # faults that end a node
STAMP: Final = frozenset({"id", "target", "stamp", "t"})
LIFE: Final = frozenset({"connecting", "failed", "open", "subscribing", "subscribed", "closed", "left"})

_INSERT: Final = {
    "I": (INTENT, "INSERT INTO intent (intended, seq, stream) VALUES (?, ?, ?)"),
    "O": (OUTCOME, "INSERT INTO outcome (sent, done, seq, stream, status, receivers) VALUES (?, ?, ?, ?, ?, ?)"),
    "D": (
        DELIVERY,
        "INSERT INTO delivery (recv, intended, seq, client, stream, node, lag_us) VALUES (?, ?, ?, ?, ?, ?, ?)",
    ),
    "R": (READ, "INSERT INTO read VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?)"),
}


class NoRunError(Exception):
    """The directory holds no run that could be checked. The text says why."""


def gather(folder: Path, db: sqlite3.Connection) -> None:
    """Fill the tables of rules/tables.sql. Raises NoRunError; OSError where a journal cannot be read."""
    manifest = _manifest(folder / "manifest.json")
    run_tag = manifest.get("run_tag")
    all_closed, headers = True, []
    stripes = (folder / "journal").glob("*.stripe")
    for number, path in enumerate(sorted(path for path in stripes if path.name != WITNESS)):
        closed, header = _stripe(number, Stripe(path), db, run_tag)
        all_closed &= closed
        headers.append(header)
    for letter, payload in Stripe(folder / "journal" / WITNESS).frames():
        if letter == "W":
            insert = "INSERT INTO heard (recv, intended, seq, stream) VALUES (?, ?, ?, ?)"
            db.executemany(insert, records(WITNESS_RECORD, payload))
    try:
        _plan(manifest["plan"], db)
        phases, scenario = manifest["phases"], manifest["scenario"]["phases"]
        zero = phases["zero_ns"]
        whole = manifest["status"] == "complete" and phases["drain_ended_by"] == "quiet" and all_closed
        publish_end = phases["measure_end_ns"] or zero + scenario["measure_ns"]
        apart = _apart(manifest.get("clock") or {}, headers)
        row = (zero, publish_end, scenario["drain"]["quiet_ns"], not whole, NEVER, apart)
    except (KeyError, TypeError) as error:
        raise NoRunError(f"{folder / 'manifest.json'} lacks what a run has: {type(error).__name__}: {error}") from error
    db.execute("INSERT INTO run VALUES (?, ?, ?, ?, ?, ?)", row)
    _caches(folder, manifest, db)


def _manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise NoRunError(f"{path} cannot be read: {error}") from error
    if not isinstance(manifest, dict):
        raise NoRunError(f"{path} holds no JSON object")
    if (manifest.get("phases") or {}).get("zero_ns") is None:
        raise NoRunError(f"the run in {path.parent} ended before it published anything")
    return manifest


def _plan(plan: Mapping[str, Any], db: sqlite3.Connection) -> None:
    db.executemany("INSERT INTO stream VALUES (:index, :publisher, :channel)", plan["streams"])
    db.executemany("INSERT INTO node VALUES (:index, :id)", plan["nodes"])
    for team in plan["groups"]:
        first = team["first_client"]
        clients = ((client, team["name"]) for client in range(first, first + team["count"]))
        db.executemany("INSERT INTO client VALUES (?, ?)", clients)


def _caches(folder: Path, manifest: Mapping[str, Any], db: sqlite3.Connection) -> None:
    """What nodes say of their caches and of themselves, and who ended them."""
    kept = [int(each.get("objects") or 0) for each in manifest["scenario"].get("publishers") or ()]
    streams = [(one["index"], kept[one["config"]]) for one in manifest["plan"]["streams"]] if kept else []
    db.executemany("INSERT INTO cached VALUES (?, ?)", (one for one in streams if one[1]))
    names = {one["id"]: one["index"] for one in manifest["plan"]["nodes"]}
    caching = ((names[name],) for name in manifest.get("caching_nodes") or () if name in names)
    db.executemany("INSERT INTO caching VALUES (?)", caching)
    for name, node in names.items():
        for line in _lines(folder / "journal" / f"{name}.jsonl"):
            with suppress(KeyError, TypeError, ValueError):  # a line that is none says nothing
                _of_cache(node, line, manifest.get("run_tag"), db)
    stamps = [line for line in _lines(folder / "faults.jsonl") if line.get("kind") in ENDS and line.keys() >= STAMP]
    healed = {line["id"] for line in stamps if line["stamp"] == "heal_confirmed"}
    ends = [(line["target"], line["t"], line["id"] in healed) for line in stamps if line["stamp"] == "confirmed"]
    ends = [one for one in ends if one[0] in names]
    for death in manifest.get("unplanned_exits") or ():
        if death["t_s"] is not None and death["unit"] in names:
            t = manifest["phases"]["zero_ns"] + round(death["t_s"] * 1e9)
            back = "SELECT EXISTS (SELECT 1 FROM asked_of WHERE node = ? AND t > ?)"
            ends.append((death["unit"], t, db.execute(back, (names[death["unit"]], t)).fetchone()[0]))
    db.executemany("INSERT INTO life_of VALUES (?, ?, 1, ?)", ((names[name], t, back) for name, t, back in ends))


def _of_cache(node: int, line: Mapping[str, Any], run_tag: int | None, db: sqlite3.Connection) -> None:
    """A line of a node's journal. Raises KeyError, TypeError, ValueError for one that is none."""
    mark = line.get("mark")
    if line.get("ev") == "start":
        db.execute("INSERT INTO life_of VALUES (?, ?, 0, 0)", (node, int(line["t"])))
    elif line.get("ev") == "cache" and isinstance(mark, str) and len(mark) >= MARK and mark.startswith("fl1"):
        run, stream, seq = int(mark[3:7], 16), int(mark[7:11], 16), int(mark[11:MARK], 16)
        if run_tag in (None, run):
            db.execute("INSERT INTO take VALUES (NULL, ?, ?, ?, ?)", (node, int(line["t"]), stream, seq))


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """The JSON objects in a file; none where there is no such file."""
    return objects(path.read_bytes()) if path.is_file() else iter(())


def _apart(clock: Mapping[str, Any], headers: Iterable[Mapping[str, Any]]) -> int:
    """By how much a publisher's time of an instant and another's may differ, in ns; 0 too where nobody can tell.

    An engine of the harness' boot has its clock. Another's was asked now and then: it was asked at t0 and knew t1 at
    that, and answered t2, which came at t3, so its clock cannot be more than t1 - t0 ahead, nor less than t2 - t3.
    """
    engines = [header for header in headers if header.get("role") in ("clients", "publishers")]
    asked = clock.get("exchanges") or ()
    boots = {header.get("boot_id") for header in engines} | {clock.get("boot_id")}
    if len(boots - {None}) == 1 or any(line["t3"] - line["t0"] < line["t2"] - line["t1"] for line in asked):
        return 0
    worst = {"clients": 0, "publishers": 0}
    for header in engines:
        if header.get("boot_id") is not None and header["boot_id"] == clock.get("boot_id"):
            continue
        unit = f"load-{header.get('worker')}/{header['role']}"
        of_unit = [line for line in asked if line["unit"] == unit]
        if not of_unit:
            return 0
        bounds = [abs(way) for line in of_unit for way in (line["t1"] - line["t0"], line["t2"] - line["t3"])]
        worst[header["role"]] = max(worst[header["role"]], *bounds)
    return sum(worst.values())


def _stripe(number: int, stripe: Stripe, db: sqlite3.Connection, run_tag: int | None) -> tuple[bool, Mapping[str, Any]]:
    """Whether it was closed in order, and its header."""
    heartbeat, last_before, header = 0, _last_delivery(db), {}
    for letter, payload in stripe.frames():
        if letter == "S":
            header = next(objects(payload), {})
        if letter in _INSERT:
            shape, insert = _INSERT[letter]
            db.executemany(insert, records(shape, payload))
        elif letter == "E":
            lines = list(objects(payload))
            insert = "INSERT INTO event (stripe, t, client, name, channel, own) VALUES (?, ?, ?, ?, ?, ?)"
            db.executemany(insert, _events(number, lines))
            asked = ((line["t"], line.get("node")) for line in lines if line.get("ev") == "subscribing")
            db.executemany("INSERT INTO asked_of VALUES (?, ?)", asked)
            for line in lines:
                if line.get("ev") == "damaged":
                    _damaged(number, line, db, run_tag)
        elif letter == "H":
            heartbeat = max(heartbeat, *HEARTBEAT.unpack(payload))
    row = (number, stripe.closed, heartbeat, last_before, _last_delivery(db))
    db.execute("INSERT INTO stripe VALUES (?, ?, ?, ?, ?)", row)
    return stripe.closed, header


def _events(stripe: int, lines: Iterable[Mapping[str, Any]]) -> Iterator[Row]:
    for line in lines:
        if line.get("ev") in LIFE:
            own = bool(line.get("own"))
            yield stripe, line["t"], line["client"], line["ev"], line.get("channel"), own


def _damaged(stripe: int, line: Mapping[str, Any], db: sqlite3.Connection, run_tag: int | None) -> None:
    row = (stripe, line["t"], line["client"], line.get("node", NO_NODE), line.get("stream"), line.get("seq"))
    insert = "INSERT INTO damage (stripe, t, client, node, stream, seq) VALUES (?, ?, ?, ?, ?, ?)"
    number = db.execute(insert, row).lastrowid
    found = guesses(bytes.fromhex(line["bytes"])[:KEPT]) if "bytes" in line else ()
    ours = (guess for guess in found if run_tag in (None, guess.run) and guess.intended < NEVER)
    rows = [(number, guess.stream, guess.seq, guess.intended) for guess in ours]
    db.executemany("INSERT INTO guess VALUES (?, ?, ?, ?)", rows)


def _last_delivery(db: sqlite3.Connection) -> int:
    """The number of the last delivery so far; 0: none."""
    return int(db.execute("SELECT COALESCE(MAX(id), 0) FROM delivery").fetchone()[0])
