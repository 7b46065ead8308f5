"""Where messages were lost, why, and by which fault, as tables; what came twice likewise. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from fanlab.report import text, words
from fanlab.report.tables import Cell, Table

_COARSE_AT_MOST: Final = 6


def losses(summary: Mapping[str, Any]) -> list[Table]:
    """By hop and cause, with a loss to look at for each; then by hop, by node and by channel."""
    return [kinds(summary), *(_by(summary, key, title) for key, title in (
        ("by_hop", "By hop"), ("by_node", "By node"), ("by_channel", "By channel")
    ))]  # fmt: skip


def kinds(summary: Mapping[str, Any]) -> Table:
    """Each hop and cause that lost anything, along the way of a message."""
    lost = summary["ledger"]["lost"]
    rows = tuple(
        (
            Cell(words.hop(kind["hop"]), "muted" if kind["hop"] == words.UNKNOWN_HOP else ""),
            Cell(text.label(kind["cause"]), "bad" if kind["cause"] == "unexplained" else ""),
            Cell(words.cause(kind["cause"]), "muted"),
            Cell(text.count(kind["lost"])),
            Cell(text.ratio(kind["lost"] / lost) if lost else text.NONE, "muted"),
            Cell(example(kind["example"]), "muted"),
        )
        for kind in summary["loss"]["by_hop_and_cause"]
    )
    columns = (
        ("Hop", False),
        ("Cause", False),
        ("Which means", False),
        ("Lost", True),
        ("Share", True),
        ("Look at one", False),
    )
    if not rows:
        return Table("By hop and cause", columns, (), "Nothing was lost on any hop.")
    notes = ["The story of a loss: fanlab explain RUN with the options in its row; RUN is the folder of this report."]
    return Table("By hop and cause", columns, rows, " ".join([*notes, *coarse(summary)]))


def example(of: Mapping[str, Any]) -> str:
    """The options of `fanlab explain` for a loss."""
    return f"--client {of['client']} --seq {of['seq']} --publisher {text.clean(of['publisher'], 40)}"


def coarse(summary: Mapping[str, Any]) -> list[str]:
    """What the attribution lacks, and what follows from that."""
    sentences = [text.sentence(sentence) for sentence in summary["evidence"]["coarse"]]
    more = len(sentences) - _COARSE_AT_MOST
    return sentences[:_COARSE_AT_MOST] + ([f"And {more} more reservations in summary.json."] if more > 0 else [])


def duplicates(summary: Mapping[str, Any]) -> Table:
    """Why messages came twice; no rows where none did."""
    copies = summary["ledger"]["duplicated"]
    rows = tuple(
        (
            Cell(text.label(cause), "bad" if cause == "unexplained" else ""),
            Cell(text.count(n)),
            Cell(text.ratio(n / copies) if copies else text.NONE, "muted"),
        )
        for cause, n in sorted(summary["duplicates"]["by_cause"].items(), key=lambda item: -item[1])
        if n
    )
    return Table("Duplicates by cause", (("Cause", False), ("Copies", True), ("Share", True)), rows)


def faults(summary: Mapping[str, Any]) -> Table:
    """Each fault: predicted beside measured, their difference, and when it bit and was healed."""
    stamps = {fault.get("fault"): fault for fault in summary["faults"]}
    rows = []
    for loss in summary["loss"]["by_fault"]:
        stamp = stamps.get(loss["fault"], {})
        rows.append(
            (
                Cell(text.clean(loss["fault"], 60)),
                Cell(text.count(loss["predicted"])),
                Cell(text.count(loss["measured"])),
                Cell(text.difference(loss["measured"], loss["predicted"]), "muted"),
                Cell(text.count(loss.get("predicted_from_outage")), "muted"),
                Cell(text.seconds(stamp.get("confirmed"))),
                Cell(text.seconds(stamp.get("heal_confirmed"))),
            )
        )
    columns = (
        ("Fault", False),
        ("Predicted", True),
        ("Lost", True),
        ("Difference", True),
        ("From the outages seen", True),
        ("Took hold", True),
        ("Healed", True),
    )
    note = (
        "Predicted: from the plan alone (rate × expected outage × clients). From the outages seen: the same with the "
        "outages that clients had. Times are seconds from the start of the measure phase."
    )
    return Table("By fault", columns, tuple(rows), note if rows else "No fault in this run.")


def _by(summary: Mapping[str, Any], key: str, title: str) -> Table:
    lost = summary["ledger"]["lost"]
    unknown = words.UNKNOWN_HOP
    items = [(name, n) for name, n in summary["loss"][key].items() if n or name != unknown or key != "by_hop"]
    if key == "by_hop":  # along the way, what cannot be placed last
        items.sort(key=lambda item: item[0] == unknown)
    rows = tuple(
        (
            Cell(words.hop(name) if key == "by_hop" else text.clean(name, 60)),
            Cell(text.count(n), "" if n else "muted"),
            Cell(text.ratio(n / lost) if lost else text.NONE, "muted"),
        )
        for name, n in items
    )
    columns = ((title.removeprefix("By ").capitalize(), False), ("Lost", True), ("Share", True))
    return Table(title, columns, rows, "" if rows else "Nothing was lost.")
