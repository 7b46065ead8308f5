"""The values that scenarios are written in, and the base of their parts. Names in Python carry their units."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from fanlab import units

_DURATION = r"^\s*([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+\s*$"  # for editors; fanlab.units decides
_RATE = r"^\s*\+?[0-9][0-9_]*(\.[0-9]+)?([eE][+-]?[0-9]+)?\s*[kM]?\s*/\s*(ms|s|m|min|h)\s*$"

DurationNs = Annotated[
    int,
    BeforeValidator(units.parse_duration_ns),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": _DURATION}, {"const": 0}], "examples": ["250ms", "1m30s"]}),
]
RatePerS = Annotated[
    float,
    BeforeValidator(units.parse_rate_per_s),
    WithJsonSchema({"type": "string", "pattern": _RATE, "examples": ["50/s", "2k/s", "30/min"]}),
]
SizeBytes = Annotated[
    int,
    BeforeValidator(units.parse_size_bytes),
    WithJsonSchema({"type": ["string", "integer"], "examples": ["128B", "64kB", "1MiB"]}),
]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]*$", max_length=64)]
KindName = Annotated[  # a folder under nodes/, or one in a folder there
    str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]*(/[A-Za-z0-9][A-Za-z0-9_.:-]*)?$", max_length=129)
]
Count = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]


class Part(BaseModel):
    """Base of all parts: frozen, unknown keys refused, YAML names as aliases."""

    model_config = ConfigDict(frozen=True, extra="forbid")
