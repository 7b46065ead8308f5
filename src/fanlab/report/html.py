"""report.html: one file that shows everything, fetches nothing and runs nothing."""

import re
from collections.abc import Mapping
from typing import Any, Final

import yaml

from fanlab.analysis.series import Series
from fanlab.report import cachetables, facts, losstables, tables, text, trusttables
from fanlab.report.charts import FIGURES, Chart
from fanlab.report.figures import svg
from fanlab.report.pages import template

_ROWS_AT_MOST: Final = 200  # of a table; what is beyond stands in summary.json
_SCENARIO_CHARS_AT_MOST: Final = 100_000


def render(summary: Mapping[str, Any], manifest: Mapping[str, Any], series: Series, charts: Mapping[str, Chart]) -> str:
    """The page. The same input gives the same bytes. `charts` is what `draw_all` returned for `series`."""
    ledger = summary["ledger"]
    meta = [
        text.count(len(series.ecdf_n)) + " nodes" if series.ecdf_n else "",
        f"{text.count(summary['clients']['count'])} clients",
        f"{text.count(ledger['published'])} messages published",
        f"{text.clean(summary['backend'])} backend",
        f"seed {text.clean(manifest.get('seed'))}",
        text.moment(manifest.get("started_utc")),
    ]
    return template("report.html.j2").render(
        scenario=facts.name(summary, manifest),
        question=facts.question(manifest),
        expectation=facts.expectation(manifest),
        meta=[item for item in meta if item],
        verdict=facts.verdict(summary, manifest),
        gates=tables.gates(summary),
        answer=_unbroken(facts.answer(summary)),
        key_figures=facts.key_figures(summary),
        charts={name: charts[name] for name in FIGURES},
        kinds=losstables.kinds(summary),
        losses=losstables.losses(summary)[1:],
        faults=losstables.faults(summary),
        duplicates=losstables.duplicates(summary),
        caches=cachetables.caches(summary),
        cache_nodes=cachetables.cache_nodes(summary),
        latency=tables.latency(summary),
        recovery=tables.recovery(summary),
        health=trusttables.health(summary, manifest),
        evidence=trusttables.evidence(summary),
        counts=tables.counts(summary),
        reproduction=tables.reproduction(summary, manifest),
        command=tables.command(manifest),
        resolved=_resolved(manifest),
        fanlab_version=text.clean(manifest.get("fanlab_version") or ""),
        rows_at_most=_ROWS_AT_MOST,
        light=svg.variables(dark=False),
        dark=svg.variables(dark=True),
    )


def _unbroken(words: str) -> str:
    """Figures that a line break does not part from their units."""
    return re.sub(r"(?<=\d) (?=(?:%|ms|s)\b|%)", "\N{NO-BREAK SPACE}", words)


def _resolved(manifest: Mapping[str, Any]) -> str:
    """The resolved scenario as YAML."""
    dumped = yaml.safe_dump(manifest["scenario"], sort_keys=False, allow_unicode=True, width=110)
    shown = text.clean_block(dumped)
    if len(shown) <= _SCENARIO_CHARS_AT_MOST:
        return shown
    return shown[:_SCENARIO_CHARS_AT_MOST] + "\n… cut here: the whole of it is in manifest.json"
