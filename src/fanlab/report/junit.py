"""JUnit XML, as CI systems read it: a suite per run, in it one case per gate, and one for the run itself. Pure.

A gate that does not hold is a failure. Of a run that is invalid every case is an error: nothing was found out, good or
bad. Names are cleaned of what XML cannot hold; the standard library escapes the rest.
"""

import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from typing import Any, Final

from fanlab.report import facts, tables, text

THE_RUN: Final = "the run is valid and the system held"
_CHARS_AT_MOST: Final = 400
_LINES_AT_MOST: Final = 50

Result = tuple[Mapping[str, Any], Mapping[str, Any]]  # a summary and its manifest


def render(results: Sequence[Result]) -> str:
    """The suites of these runs."""
    root = ET.Element("testsuites", name="fanlab")
    suites = [_suite(root, summary, manifest) for summary, manifest in results]
    for count in ("tests", "failures", "errors"):
        root.set(count, str(sum(int(suite.get(count, "0")) for suite in suites)))
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _suite(root: ET.Element, summary: Mapping[str, Any], manifest: Mapping[str, Any]) -> ET.Element:
    name = facts.name(summary, manifest)
    suite = ET.SubElement(root, "testsuite", name=name)
    properties = ET.SubElement(suite, "properties")
    for key, value in (("seed", summary["seed"]), ("backend", summary["backend"]), ("verdict", summary["verdict"])):
        ET.SubElement(properties, "property", name=key, value=text.clean(value))
    cases = [_of_the_run(summary), *(_of_a_gate(gate, summary) for gate in summary["gates"])]
    for case_name, kind, message, lines in cases:
        case = ET.SubElement(suite, "testcase", classname=f"fanlab.{name}", name=case_name, time="0")
        if kind:
            told = ET.SubElement(case, kind, message=message, type=kind)
            told.text = "\n".join(lines)
    suite.set("tests", str(len(cases)))
    suite.set("failures", str(sum(kind == "failure" for _, kind, *_ in cases)))
    suite.set("errors", str(sum(kind == "error" for _, kind, *_ in cases)))
    suite.set("skipped", "0")
    suite.set("time", f"{summary['phases']['measure_s']:g}")
    return suite


_Case = tuple[str, str, str, Sequence[str]]  # name, `failure`, `error` or nothing, message, lines


def _of_the_run(summary: Mapping[str, Any]) -> _Case:
    """What is wrong with the run beside its gates."""
    reasons = [text.clean(reason, _CHARS_AT_MOST) for reason in summary["reasons"]]
    others = [reason for reason in reasons if not reason.startswith("gate not met:")]
    kind = "error" if summary["verdict"] == "invalid" else "failure" if others else ""
    return THE_RUN, kind, others[0] if others else "", others[:_LINES_AT_MOST]


def _of_a_gate(gate: Mapping[str, Any], summary: Mapping[str, Any]) -> _Case:
    name = text.clean(gate["expr"], _CHARS_AT_MOST)
    value = f"it is {tables.measured(gate)}, margin {tables.margin(gate)}"
    if summary["verdict"] == "invalid":
        why = text.clean(next(iter(summary["reasons"]), ""), _CHARS_AT_MOST)
        return name, "error", f"the measurement is invalid: {why}", [value]
    return name, "" if gate["ok"] else "failure", f"gate not met: {name}", [value]
