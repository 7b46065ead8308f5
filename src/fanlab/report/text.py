"""Text as reports show it: names made harmless, figures made short. Pure; escaping is each format's own."""

import math
import re
import unicodedata
from collections.abc import Sequence
from typing import TypeGuard

NONE = "–"  # shown where there is no figure, never 0
_JOINERS = "\u200d\ufe0f"  # zero-width joiner and emoji presentation: invisible, harmless, and part of emoji
_KILO = 1000
_STAMP = re.compile(r"(\d{4})-?(\d\d)-?(\d\d)T(\d\d):?(\d\d):?(\d\d)(?:\.\d+)?Z")


def clean(value: object, limit: int = 160) -> str:
    """`value` as one printable line of at most `limit` characters.

    Line breaks and tabs become spaces. Control characters, lone surrogates and invisible formatting (such as the
    right-to-left override, which makes a name read as another one) are dropped; they are also illegal in XML.
    """
    kept = []
    for char in str(value):
        category = unicodedata.category(char)
        if category[0] == "Z" or char in "\t\r\n\v\f":
            kept.append(" ")
        elif _shown(char):
            kept.append(char)
    line = " ".join("".join(kept).split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def sentence(value: object, limit: int = 300) -> str:
    """`value` as `clean` has it, ending in a full stop."""
    line = clean(value, limit)
    return line if line.endswith((".", "…")) else f"{line}."


def clean_block(value: str) -> str:
    """The same for text of several lines, whose line breaks and indentation stay; of any length."""
    return "\n".join("".join(char for char in line if _shown(char)) for line in value.splitlines())


def _shown(char: str) -> bool:
    return unicodedata.category(char)[0] != "C" or char in _JOINERS


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether `value` is a finite number (a bool is none)."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def count(value: object) -> str:
    """A whole number with separators: 12345 -> `12,345`."""
    return f"{value:,.0f}" if is_number(value) else NONE


def ms(value: object) -> str:
    """Milliseconds in three digits: 0.3124 -> `0.312 ms`, 1620 -> `1.62 s`."""
    if not is_number(value):
        return NONE
    return f"{digits(value / _KILO)} s" if abs(value) >= _KILO else f"{digits(value)} ms"


def seconds(value: object) -> str:
    """Seconds to the millisecond: 2.0061 -> `2.006 s`."""
    return f"{value:.3f} s" if is_number(value) else NONE


def ratio(value: object) -> str:
    """A share in per cent: 0.0206 -> `2.06 %`. What is not 0 never reads 0."""
    if not is_number(value):
        return NONE
    percent = value * 100
    if percent and abs(percent) < 0.001:  # noqa: PLR2004
        return "< 0.001 %" if percent > 0 else "> −0.001 %"
    if value < 1 and round(percent, 1) >= 100:  # noqa: PLR2004
        return "> 99.9 %"
    return f"{digits(percent)} %"


def difference(measured: object, predicted: object) -> str:
    """How far a measured value lies from a predicted one, in per cent of the latter: `+4.2 %`."""
    if not is_number(measured) or not is_number(predicted) or not predicted:
        return NONE
    return f"{(measured - predicted) / predicted * 100:+.1f} %".replace("-", "−")


def digits(value: float) -> str:
    """Three significant digits, never in exponent form."""
    if not value:
        return "0"
    places = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{min(places, 6)}f}"
    return text.rstrip("0").rstrip(".") if "." in text and abs(value) < 10 else text  # noqa: PLR2004


def figure(value: object) -> str:
    """Any value of a summary as a gate shows it."""
    if is_number(value):
        return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"
    return NONE if value is None else clean(value)


def label(key: object) -> str:
    """A summary's key as words: `node_redis_gap` -> `node redis gap`."""
    return clean(str(key).replace("_", " "))


def moment(stamp: object) -> str:
    """A UTC stamp for people: `20251122T194703Z` -> `2025-11-22 19:47:03 UTC`; anything else as it is."""
    parts = _STAMP.fullmatch(stamp) if isinstance(stamp, str) else None
    if parts:
        return "{}-{}-{} {}:{}:{} UTC".format(*parts.groups())
    return clean(stamp) if stamp else ""


def listing(items: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(items[:-1]), items[-1]]) if len(items) > 1 else "".join(items)
