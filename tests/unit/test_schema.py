"""The schema that editors get: every bundled scenario passes it, and it refuses what it should."""

import re
from pathlib import Path
from typing import Any

import pytest

from fanlab import resources
from fanlab.scenario.document import parse, plain
from fanlab.scenario.schema import json_schema

SCHEMA = json_schema()
SCENARIOS = sorted(resources.folder("scenarios").glob("*.yaml"))
TYPES: dict[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}
KEYWORDS = {
    "type", "properties", "required", "additionalProperties", "items", "anyOf", "oneOf", "allOf", "if", "then", "not",
    "enum", "const", "pattern", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minItems", "minLength",
    "maxLength", "minProperties", "$ref",
    "title", "description", "default", "examples", "$defs", "$schema", "discriminator",
}  # fmt: skip


def valid(value: Any, schema: dict[str, Any]) -> bool:
    """As much of JSON Schema as this one uses; a keyword that it does not know is an error, not a pass."""
    assert set(schema) <= KEYWORDS, set(schema) - KEYWORDS
    if "$ref" in schema and not valid(value, SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]]):
        return False
    return _typed(value, schema) and _combined(value, schema) and _bounded(value, schema) and _inside(value, schema)


def _typed(value: Any, schema: dict[str, Any]) -> bool:
    types = schema.get("type", list(TYPES))
    types = [types] if isinstance(types, str) else types
    fits = [isinstance(value, TYPES[each]) and (each == "boolean" or not isinstance(value, bool)) for each in types]
    return any(fits) and value in schema.get("enum", [value]) and ("const" not in schema or value == schema["const"])


def _combined(value: Any, schema: dict[str, Any]) -> bool:
    if not all(valid(value, each) for each in schema.get("allOf", [])):
        return False
    if "anyOf" in schema and not any(valid(value, each) for each in schema["anyOf"]):
        return False
    if "oneOf" in schema and sum(valid(value, each) for each in schema["oneOf"]) != 1:
        return False
    if "not" in schema and valid(value, schema["not"]):
        return False
    return not ("if" in schema and valid(value, schema["if"])) or valid(value, schema["then"])


def _bounded(value: Any, schema: dict[str, Any]) -> bool:
    if isinstance(value, str):
        if "pattern" in schema and not re.search(schema["pattern"], value):
            return False
        return schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value))
    if isinstance(value, int | float) and not isinstance(value, bool):
        low, high = schema.get("minimum", value), schema.get("maximum", value)
        above, below = schema.get("exclusiveMinimum", value - 1), schema.get("exclusiveMaximum", value + 1)
        return bool(low <= value <= high and above < value < below)
    return True


def _inside(value: Any, schema: dict[str, Any]) -> bool:
    if isinstance(value, list):
        return len(value) >= schema.get("minItems", 0) and all(valid(each, schema.get("items", {})) for each in value)
    if not isinstance(value, dict):
        return True
    if not set(schema.get("required", [])) <= set(value) or len(value) < schema.get("minProperties", 0):
        return False
    known, others = schema.get("properties", {}), schema.get("additionalProperties", {})
    for key, each in value.items():
        rule = known.get(key, others)
        if rule is False or not valid(each, rule):
            return False
    return True


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_every_bundled_scenario_fits(path: Path) -> None:
    assert valid(plain(parse(path.read_text(), path.name).root), SCHEMA)


def quickstart() -> dict[str, Any]:
    data = plain(parse((resources.folder("scenarios") / "quickstart.yaml").read_text(), "quickstart").root)
    assert isinstance(data, dict)
    return data


@pytest.mark.parametrize(
    ("change", "fits"),
    [
        ({"phases": {"warm_up": 0}}, True),
        ({"phases": {"warm_up": 5}}, False),
        ({"phases": {"warmup": "5s"}}, False),
        ({"topology": {"nodes": [{"count": 2}, {"count": 1}]}}, True),
        ({"topology": {"nodes": {"count": 2, "env": {"DEBUG": True, "LIMIT": 5}}}}, True),
        ({"topology": {"nodes": {"count": 0}}}, False),
        ({"publishers": [{"name": "p", "channel": "news", "rate": {"rate": "5/s"}}]}, True),
        ({"publishers": [{"name": "p", "channel": "news", "rate": {"kind": "poisson", "rate": "5/s"}}]}, True),
        ({"publishers": [{"name": "p", "channel": "news", "rate": {"kind": "poison", "rate": "5/s"}}]}, False),
        ({"publishers": [{"name": "p", "channel": "news", "rate": "5"}]}, False),
        ({"publishers": [{"name": "p", "channel": "news"}]}, False),
        ({"publishers": [{"name": "p"}], "defaults": {"publishers": {"rate": "5/s", "channel": "news"}}}, True),
        ({"defaults": {"publishers": {"rat": "5/s"}}}, False),
        ({"matrix": {"topology.nodes.count": [1, 2]}}, True),
        ({"matrix": {"topology.nodes.count": 2}}, False),
        ({"faults": [{"kind": "crash", "at": "1s", "target": ["node-1", "node-2"]}]}, True),
        ({"faults": [{"kind": "crash"}]}, False),
        ({"faults": [{"kind": "redis-restart", "at": "1s", "target": "node-1"}]}, False),
        ({"evidence": {"witness": False, "probes": 0}}, True),
        ({"evidence": {"witness": "no"}}, False),
        ({"evidence": {"probes": 17}}, False),
        ({"topology": {"nodes": {"journal": False}}}, True),
        ({"colour": "red"}, False),
        ({"seed": -1}, False),
    ],
)
def test_what_fits_and_what_does_not(change: dict[str, Any], fits: bool) -> None:
    assert valid(quickstart() | change, SCHEMA) is fits


def test_defaults_are_shown_as_people_write_them() -> None:
    groups = SCHEMA["$defs"]["ClientGroup"]["properties"]
    assert SCHEMA["$defs"]["Reconnect"]["properties"]["initial"]["default"] == "500ms"
    assert groups["spawn_rate"]["default"] == "100/s"
    assert groups["nodes"]["default"] is None
    assert SCHEMA["$defs"]["Publisher"]["properties"]["payload"]["default"] == "128B"
    assert SCHEMA["$defs"]["Limits"]["properties"]["cpu"]["default"] == 0.9
    assert SCHEMA["$defs"]["Evidence"]["properties"]["witness"]["default"] is True
    assert SCHEMA["properties"]["clients"]["default"] == []


def test_every_key_of_the_model_is_described() -> None:
    parts = [SCHEMA, *SCHEMA["$defs"].values()]
    bare = [
        (part["title"], name)
        for part in parts
        for name, field in part["properties"].items()
        if not field.get("description") and name != "kind"
    ]
    assert bare == []


def test_each_call_gives_a_copy() -> None:
    json_schema()["properties"].clear()
    assert json_schema()["properties"]
