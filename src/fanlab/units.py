"""Durations, rates, sizes and ratios as people write them: `250ms`, `2k/s`, `64kB`, `0.5%`."""

import math
import re

_NUMBER = r"\s*([+-]?\d+(?:_\d+)*(?:\.\d+)?(?:[eE][+-]?\d+)?)\s*"
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)", re.ASCII)
_DURATION_NS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_LONGEST_NS = 1000 * _DURATION_NS["h"]  # fits 64 bits with room for sums
_RATE = re.compile(_NUMBER + r"(k|M)?\s*/\s*(ms|s|m|min|h)\s*$", re.ASCII)
_RATE_PERIOD_S = {"ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_COUNT = re.compile(_NUMBER + r"(k|M)?\s*$", re.ASCII)
_SIZE = re.compile(_NUMBER + r"(B|kB|KB|KiB|MB|MiB)?\s*$", re.ASCII)
_SIZE_BYTES = {None: 1, "B": 1, "kB": 1000, "KB": 1000, "KiB": 1024, "MB": 10**6, "MiB": 2**20}


def parse_duration_ns(value: object) -> int:
    """`250ms`, `1.5s`, `1m30s`, or 0, as nanoseconds.

    Raises ValueError, with what would be right, for a bare number other than 0, another unit, or a negative value.
    """
    if value == 0 and not isinstance(value, bool):
        return 0
    if isinstance(value, str):
        text = value.strip()
        parts = _DURATION_PART.findall(text)
        if parts and "".join(number + unit for number, unit in parts) == text:
            total = sum(float(number) * _DURATION_NS[unit] for number, unit in parts)
            if total <= _LONGEST_NS:
                return round(total)
            raise ValueError(f"{_shown(value)} is longer than {_LONGEST_NS // _DURATION_NS['h']} hours")
    raise ValueError(f"{_shown(value)} is no duration; write it with a unit, as 250ms, 1.5s or 2m")


def parse_rate_per_s(value: object) -> float:
    """`50/s`, `2k/s`, `30/min`, as events per second.

    Raises ValueError, with what would be right, for a bare number, another unit, or a negative or endless value.
    """
    match = _RATE.match(value) if isinstance(value, str) else None
    if match:
        rate = float(match[1]) * {None: 1, "k": 1e3, "M": 1e6}[match[2]] / _RATE_PERIOD_S[match[3]]
        if rate >= 0 and math.isfinite(rate):
            return rate
    raise ValueError(f"{_shown(value)} is no rate; write it with a unit, as 50/s, 2k/s or 30/min")


def parse_size_bytes(value: object) -> int:
    """`128`, `128B`, `64kB` (1000), `1MiB` (1048576), as bytes.

    Raises ValueError, with what would be right, for anything else.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    match = _SIZE.match(value) if isinstance(value, str) else None
    if match and 0 <= float(match[1]) < math.inf:
        size = float(match[1]) * _SIZE_BYTES[match[2]]
        if size == int(size):
            return int(size)
    raise ValueError(f"{_shown(value)} is no size; write it as 128B, 64kB or 1MiB")


def parse_count(value: object) -> int:
    """`500`, `200k`, `1.5M`, as a whole number from 1 on.

    Raises ValueError, with what would be right, for anything else.
    """
    match = _COUNT.match(value) if isinstance(value, str) else None
    if match and 1 <= float(match[1]) < math.inf:
        count = float(match[1]) * {None: 1, "k": 1e3, "M": 1e6}[match[2]]
        if count == int(count):
            return int(count)
    raise ValueError(f"{_shown(value)} is no count; write it as 500, 200k or 1.5M")


def format_duration(ns: float) -> str:
    """The shortest common form: 1500000000 -> `1.5s`, 250000000 -> `250ms`."""
    for unit, size in (("s", 10**9), ("ms", 10**6), ("us", 10**3)):
        if abs(ns) >= size:
            return f"{ns / size:.4g}{unit}"
    return f"{ns:.4g}ns" if ns else "0s"


def format_rate(per_s: float) -> str:
    """The shortest common form: 2000.0 -> `2k/s`."""
    return f"{per_s / 1e3:.4g}k/s" if per_s >= 10_000 or (per_s >= 1000 and per_s % 100 == 0) else f"{per_s:.4g}/s"  # noqa: PLR2004


def format_bytes(size: float) -> str:
    """The shortest common form, in decimal units: 1500 -> `1.5 kB`."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if abs(size) >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size:.0f} B"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."  # noqa: PLR2004
