"""report.md: the result for a pull request or an issue. Tables only, no raw HTML, every name escaped."""

import re
from collections.abc import Mapping
from typing import Any, Final

from fanlab.report import cachetables, facts, losstables, tables, text, trusttables
from fanlab.report.tables import Table

_SPECIAL: Final = re.compile(r"([\\`*_{}\[\]<>#|!~@$&^])")
_WEB: Final = re.compile(r"(?i)\b(https?|ftp|mailto|www)([:.])")  # what GitHub turns into a link of its own accord
_ROWS_AT_MOST: Final = 50
_CHARS_AT_MOST: Final = 2000
_MARKS: Final = {"good": "✅", "bad": "❌", "warn": "⚠️"}


def render(summary: Mapping[str, Any], manifest: Mapping[str, Any]) -> str:
    """The report as GitHub-flavoured Markdown. The same input gives the same text."""
    verdict = facts.verdict(summary, manifest)
    lines = [f"# {escape(facts.name(summary, manifest))}: {verdict.word}", ""]
    if verdict.partial:
        lines += [f"> ⚠️ **Partial.** {escape(verdict.partial)}", ""]
    lines += [f"{_MARKS[verdict.tone]} **{verdict.word}**: {escape(verdict.line)}.", ""]
    lines += [f"- {escape(reason)}" for reason in verdict.reasons] + ([""] if verdict.reasons else [])
    lines += section(tables.gates(summary), "## Gates")
    lines += ["## What happened", ""]
    if question := facts.question(manifest):
        lines += [f"*{escape(question)}*", ""]
    lines += [escape(facts.answer(summary)), ""]
    if expectation := facts.expectation(manifest):
        lines += [f"Expected: {escape(expectation)}", ""]
    lines += ["| | | |", "| --- | ---: | --- |"]
    lines += [f"| {escape(f.label)} | **{escape(f.value)}** | {escape(f.note)} |" for f in facts.key_figures(summary)]
    lines += ["", "## Losses", ""]
    for table in (*losstables.losses(summary), losstables.faults(summary)):
        lines += section(table, f"### {table.title}")
    if (copies := losstables.duplicates(summary)).rows:
        lines += section(copies, f"### {copies.title}")
    if (of_nodes := cachetables.cache_nodes(summary)) is not None:
        lines += ["## Caches", ""]
        for table in (*cachetables.caches(summary), of_nodes):
            lines += section(table, f"### {table.title}")
    lines += section(tables.latency(summary), "## Latency")
    lines += section(tables.recovery(summary), "## Recovery")
    lines += section(trusttables.health(summary, manifest), "## Is it us?")
    lines += section(trusttables.evidence(summary), "### Evidence")
    for table in tables.counts(summary):
        lines += section(table, f"### {table.title}")
    lines += ["## Run it again", ""]
    if command := tables.command(manifest):
        lines += [*_code(command), ""]
    for table in tables.reproduction(summary, manifest):
        lines += [f"- {escape(row[0].text)}: {escape(row[1].text)}" for row in table.rows]
    return "\n".join(lines).rstrip() + "\n"


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
