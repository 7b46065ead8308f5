"""What of a resolved scenario a file need not say: values that are the model's defaults, at any depth. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from fanlab.scenario.model import Scenario


def without_defaults(scenario: Mapping[str, Any]) -> dict[str, Any]:
    """A resolved scenario as JSON, of this version of the model or an earlier one, without values that are defaults.

    Two versions of the model give the same for the same file, as long as only keys with defaults were added.
    """
    return _of_model(Scenario, scenario)


def _of_model(model: type[BaseModel], value: Mapping[str, Any]) -> dict[str, Any]:
    fields = model.model_fields
    told = {key: _told(fields[key].annotation, each) if key in fields else each for key, each in value.items()}
    return {key: each for key, each in told.items() if key not in fields or not _is_default(fields[key], each)}


def _is_default(field: FieldInfo, told: Any) -> bool:
    """Whether what a key tells is nothing new; a kind always is, being what tells what the rest means."""
    if field.is_required() or get_origin(field.annotation) is Literal:
        return False
    default = to_jsonable_python(field.get_default(call_default_factory=True))
    return bool(told == _told(field.annotation, default))


def _told(annotation: Any, value: Any) -> Any:
    if isinstance(value, Mapping):
        for model in _models(annotation):
            if _is_of(model, value):
                return _of_model(model, value)
    if isinstance(value, list):
        (inner,) = get_args(annotation)[:1] or (Any,)
        return [_told(inner, each) for each in value]
    return value


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that a type may be: itself, or those of a union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) not in (list, dict):
        for each in get_args(annotation):
            yield from _models(each)


def _is_of(model: type[BaseModel], value: Mapping[str, Any]) -> bool:
    kind = model.model_fields.get("kind")
    return kind is None or get_origin(kind.annotation) is not Literal or value.get("kind") in get_args(kind.annotation)
