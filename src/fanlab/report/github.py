"""What a GitHub workflow shows of a run: annotations at the gates that failed, and the job's step summary. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from fanlab.report import facts, markdown, tables, text
from fanlab.report.junit import Result

SUMMARY_BYTES: Final = 100_000  # GitHub takes 1 MiB a step; more than this nobody reads
_ANNOTATIONS_AT_MOST: Final = 10  # of one kind, GitHub shows that many of a step
_CHARS_AT_MOST: Final = 400


def annotations(summary: Mapping[str, Any], manifest: Mapping[str, Any]) -> list[str]:
    """Workflow commands, `::error file=…,line=…::…`: what is wrong, where the scenario says so."""
    found = list(_wrong(summary, manifest))
    if (more := len(found) - _ANNOTATIONS_AT_MOST + 1) > 1:
        found = [*found[: _ANNOTATIONS_AT_MOST - 1], (None, None, f"… and {more} more: see the step summary")]
    return [_command(facts.name(summary, manifest), *one) for one in found]


def step_summary(results: Sequence[Result]) -> str:
    """Markdown of at most SUMMARY_BYTES, the runs sharing it evenly."""
    share = SUMMARY_BYTES // max(1, len(results))
    return "\n".join(markdown.render_within(summary, manifest, share - 1) for summary, manifest in results)


def _wrong(summary: Mapping[str, Any], manifest: Mapping[str, Any]) -> Iterator[tuple[str | None, int | None, str]]:
    """(file, line, what) of the run's own troubles, then of each gate that failed."""
    source = _file(manifest.get("scenario_source"))
    for reason in summary["reasons"]:
        if not reason.startswith("gate not met:"):
            yield source, None, reason
    if summary["verdict"] == "invalid":
        return  # what gates say of it means nothing
    places = manifest.get("gate_places") or ()
    for index, gate in enumerate(summary["gates"]):
        if not gate["ok"]:
            place = places[index] if index < len(places) else {}
            what = f"gate not met: {gate['expr']}: it is {tables.measured(gate)}, margin {tables.margin(gate)}"
            yield _file(place.get("file")) or source, place.get("line"), what


def _file(source: object) -> str | None:
    """A file's name; what came from a command line is none."""
    return source if isinstance(source, str) and source and not source.startswith("--") else None


def _command(title: str, file: str | None, line: int | None, what: str) -> str:
    where = [f"file={_property(file)}"] if file else []
    where += [f"line={line}"] if file and line else []
    return f"::error {','.join([*where, f'title={_property(title)}'])}::{_data(text.clean(what, _CHARS_AT_MOST))}"


def _data(value: str) -> str:
    return value.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(value: str) -> str:
    return _data(text.clean(value, _CHARS_AT_MOST)).replace(":", "%3A").replace(",", "%2C")
