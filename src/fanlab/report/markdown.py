"""report.md: the result for a pull request or an issue. The gates first, the long part folded, every name escaped."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from fanlab.report import cachetables, facts, losstables, tables, text, trusttables
from fanlab.report.tables import Table

_SPECIAL: Final = re.compile(r"([\\`*_{}\[\]<>#|!~@$&^])")
_WEB: Final = re.compile(r"(?i)\b(https?|ftp|mailto|www)([:.])")  # what GitHub turns into a link of its own accord
_ROWS_AT_MOST: Final = 50
_CHARS_AT_MOST: Final = 2000
_REASONS_AT_MOST: Final = 20
_MARKS: Final = {"good": "✅", "bad": "❌", "warn": "⚠️"}


def render(summary: Mapping[str, Any], manifest: Mapping[str, Any]) -> str:
    """The report as GitHub-flavoured Markdown. The same input gives the same text."""
    lines = [*_outcome(summary, manifest), *_happened(summary, manifest)]
    for title, inner in _details(summary, manifest):
        lines += ["<details>", f"<summary>{title}</summary>", "", *inner, "</details>", ""]
    return "\n".join(lines).rstrip() + "\n"


def render_within(summary: Mapping[str, Any], manifest: Mapping[str, Any], most_bytes: int) -> str:
    """As much of it, from the beginning, as that many bytes of UTF-8 hold; the end says where the rest is."""
    rest = "\n… and more: all of it is in report.md and summary.json.\n"
    room = most_bytes - len(rest.encode()) - len("\n</details>\n")
    kept: list[str] = []
    for line in render(summary, manifest).splitlines():
        room -= len(line.encode()) + 1
        if room < 0:
            folded = kept.count("<details>") > kept.count("</details>")
            return "\n".join(kept) + ("\n\n</details>\n" if folded else "\n") + rest
        kept.append(line)
    return "\n".join(kept) + "\n"


def _outcome(summary: Mapping[str, Any], manifest: Mapping[str, Any]) -> list[str]:
    """The verdict in a word, the gates, the verdict in a sentence with its reasons."""
    verdict = facts.verdict(summary, manifest)
    lines = [f"# {escape(facts.name(summary, manifest))}: {verdict.word}", ""]
    if verdict.partial:
        lines += [f"> ⚠️ **Partial.** {escape(verdict.partial)}", ""]
    gates = tables.gates(summary)
    failed = [row for row in gates.rows if row[0].tone == "bad"]  # first, for where there are many
    lines += section(replace(gates, rows=(*failed, *(row for row in gates.rows if row[0].tone != "bad"))), "## Gates")
    lines += [f"{_MARKS[verdict.tone]} **{verdict.word}**: {escape(verdict.line)}.", ""]
    reasons = verdict.reasons[:_REASONS_AT_MOST]
    lines += [f"- {escape(reason)}" for reason in reasons]
    if (more := len(verdict.reasons) - len(reasons)) > 0:
        lines += [f"- … and {more} more: all are in summary.json"]
    return [*lines, ""] if reasons else lines


def _happened(summary: Mapping[str, Any], manifest: Mapping[str, Any]) -> list[str]:
    lines = ["## What happened", ""]
    if question := facts.question(manifest):
        lines += [f"*{escape(question)}*", ""]
    lines += [escape(facts.answer(summary)), ""]
    if expectation := facts.expectation(manifest):
        lines += [f"Expected: {escape(expectation)}", ""]
    lines += ["| | | |", "| --- | ---: | --- |"]
    lines += [f"| {escape(f.label)} | **{escape(f.value)}** | {escape(f.note)} |" for f in facts.key_figures(summary)]
    return [*lines, ""]


def _details(summary: Mapping[str, Any], manifest: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """What is folded away, each with its title."""
    losses: list[str] = []
    for table in (*losstables.losses(summary), losstables.faults(summary)):
        losses += section(table, f"### {table.title}")
    if (copies := losstables.duplicates(summary)).rows:
        losses += section(copies, f"### {copies.title}")
    yield "Losses", losses
    if (of_nodes := cachetables.cache_nodes(summary)) is not None:
        caches: list[str] = []
        for table in (*cachetables.caches(summary), of_nodes):
            caches += section(table, f"### {table.title}")
        yield "Caches", caches
    yield (
        "Latency and recovery",
        [
            *section(tables.latency(summary), "### Latency"),
            *section(tables.recovery(summary), "### Recovery"),
        ],
    )
    trust = section(trusttables.health(summary, manifest), "### Is it us?")
    trust += section(trusttables.evidence(summary), "### Evidence")
    for table in tables.counts(summary):
        trust += section(table, f"### {table.title}")
    yield "Is it us?", trust
    again: list[str] = []
    if command := tables.command(manifest):
        again += [*_code(command), ""]
    for table in tables.reproduction(summary, manifest):
        again += [f"- {escape(row[0].text)}: {escape(row[1].text)}" for row in table.rows]
    yield "Run it again", [*again, ""]


def section(table: Table, heading: str) -> list[str]:
    """A heading, the table, its note."""
    lines = [heading, ""]
    if table.rows:
        lines.append("| " + " | ".join(escape(label) for label, _ in table.columns) + " |")
        lines.append("| " + " | ".join("---:" if numeric else "---" for _, numeric in table.columns) + " |")
        for row in table.rows[:_ROWS_AT_MOST]:
            cells = [f"**{escape(cell.text)}**" if cell.tone == "bad" else escape(cell.text) for cell in row]
            lines.append("| " + " | ".join(cells) + " |")
        if (more := len(table.rows) - _ROWS_AT_MOST) > 0:
            lines += ["", f"… and {more} more rows: all are in summary.json."]
        lines.append("")
    return [*lines, escape(table.note), ""] if table.note else lines


def escape(value: str) -> str:
    """A text without meaning to Markdown: no markup, no table cell, no HTML, no mention, no link."""
    unlinked = _WEB.sub("\\1\N{WORD JOINER}\\2", text.clean(value, _CHARS_AT_MOST))
    escaped = _SPECIAL.sub(r"\\\1", unlinked)
    # A backslash does not stop `@name` and `#12` from becoming links, nor a line from opening a list.
    escaped = re.sub(r"\\([@#])(?=\w)", "\\1\N{WORD JOINER}", escaped)
    return re.sub(r"^(\d*)([-+.)])(?=\s)", r"\1\\\2", escaped)


def _code(command: str) -> list[str]:
    """A fenced block, its fence longer than any run of backticks inside."""
    longest = max((len(run) for run in re.findall(r"`+", command)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}sh", command, fence]
