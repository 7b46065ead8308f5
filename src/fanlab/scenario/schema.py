"""JSON Schema (draft 2020-12) of scenario files, for editors: the model's own, with the short forms and loader's keys.

It tells shapes and values, not what refers to something else; `fanlab validate` has the last word.
"""

import copy
from typing import Any, get_args

from fanlab.scenario.faults import Fault
from fanlab.scenario.loader import DEFAULTS, MAX_CELLS
from fanlab.scenario.model import Scenario
from fanlab.scenario.shape import Choice, Items, Leaf, Record, Shape, scenario_shape, shown

_DEFS = "#/$defs/"
FAULT_PARTS = [part.__name__ for part in get_args(Fault)]


def json_schema() -> dict[str, Any]:
    """The schema as plain data, a new copy each time."""
    schema = Scenario.model_json_schema(by_alias=True, ref_template=_DEFS + "{model}")
    definitions: dict[str, Any] = schema["$defs"]
    for record in _records(scenario_shape()):
        part = schema if record.model is Scenario else definitions[record.model.__name__]
        _as_people_write(part, record)
    rate = definitions["Publisher"]["properties"]["rate"]
    definitions["Publisher"]["properties"]["rate"] = _rate(rate, definitions)
    nodes = definitions["Topology"]["properties"]["nodes"]
    definitions["Topology"]["properties"]["nodes"] = {
        "description": nodes.pop("description"),
        "anyOf": [{"$ref": _DEFS + "NodeGroup"}, nodes],
    }
    schema["allOf"] = [_required_without_defaults(definitions)]
    schema["properties"] |= {"defaults": _defaults(definitions), "matrix": _matrix()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "fanlab scenario",
        **{key: value for key, value in schema.items() if key != "title"},
    }


def _records(shape: Shape) -> list[Record]:
    """Every record of the model."""
    match shape:
        case Record(fields=fields):
            return [shape, *(record for slot in fields.values() for record in _records(slot.shape))]
        case Choice(tags=tags):
            return [record for tagged in tags.values() for record in _records(tagged)]
        case Items(item=item):
            return _records(item)
        case _:
            return []


def _as_people_write(part: dict[str, Any], record: Record) -> None:
    """Defaults with their units, `500ms` rather than nanoseconds; null only where it is one."""
    for name, slot in record.fields.items():
        field = part["properties"][name]
        field.pop("title", None)
        default = slot.info.get_default(call_default_factory=True) if not slot.info.is_required() else None
        if isinstance(slot.shape, Record | Choice) or slot.info.is_required():
            field.pop("default", None)
        elif isinstance(slot.shape, Leaf) and slot.shape.what in ("duration", "rate", "size") and default is not None:
            field["default"] = shown(slot.shape, default)
        if isinstance(slot.shape, Items) and default == []:
            field["default"] = []


def _rate(field: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """A bare rate, or a mapping; without a kind it is a constant one."""
    tagged = {key: value for key, value in field.items() if key != "description"}
    bare = copy.deepcopy(definitions["ConstantRate"]["properties"]["rate"])
    return {"description": field["description"], "anyOf": [bare, *tagged["oneOf"]]}


def _required_without_defaults(definitions: dict[str, Any]) -> dict[str, Any]:
    """Move what entries must have from the entries to a rule for files that have no defaults to complete them."""
    required = {
        "clients": definitions["ClientGroup"].pop("required"),
        "publishers": definitions["Publisher"].pop("required"),
        "faults": ["kind", "at"],
    }
    definitions["ClientGroup"]["required"], definitions["Publisher"]["required"] = ["group"], ["name"]
    for part in FAULT_PARTS:
        definitions[part]["required"] = ["kind"]
    entries = {name: {"items": {"required": keys}} for name, keys in required.items()}
    return {"if": {"not": {"required": ["defaults"]}}, "then": {"properties": entries}}


def _defaults(definitions: dict[str, Any]) -> dict[str, Any]:
    """A mapping per list whose entries take defaults; nothing in it is required."""
    parts = {"clients": ["ClientGroup"], "publishers": ["Publisher"], "faults": FAULT_PARTS}
    properties = {}
    for name in DEFAULTS:
        fields = {key: field for part in parts[name] for key, field in definitions[part]["properties"].items()}
        if name == "faults":
            del fields["kind"]  # a fault without its kind could not be told from another
        properties[name] = {"type": "object", "properties": fields, "additionalProperties": False}
    return {
        "type": "object",
        "description": "What entries of these lists have unless they say otherwise.",
        "properties": properties,
        "additionalProperties": False,
    }


def _matrix() -> dict[str, Any]:
    return {
        "type": "object",
        "description": f"Paths with the values to try: one run per combination, at most {MAX_CELLS}.",
        "examples": [{"topology.nodes.count": [2, 3]}],
        "additionalProperties": {"type": "array", "minItems": 1},
        "minProperties": 1,
    }
