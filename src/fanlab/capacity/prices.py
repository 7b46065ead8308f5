"""What things cost, as the user says: a YAML file of a few numbers.

currency: EUR
node_per_hour: 0.05
redis_per_hour: 0.08
egress_per_gb: 0.09
"""

import math
from pathlib import Path
from typing import Final

import yaml

from fanlab.analysis.cost import Prices
from fanlab.errors import Problem, ScenarioError

_FIGURES: Final = ("node_per_hour", "redis_per_hour", "egress_per_gb")
_MOST_BYTES: Final = 10_000
_CURRENCY_CHARS: Final = 12


def read_prices(path: Path) -> Prices:
    """The prices of a file; what it leaves out costs nothing. Raises ScenarioError with every problem."""
    try:
        text = path.read_bytes()
        data = yaml.safe_load(text) if len(text) <= _MOST_BYTES else None
    except OSError as error:
        raise ScenarioError([Problem(str(path), 0, 0, "", f"cannot be read: {error.strerror}")]) from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise ScenarioError([Problem(str(path), 0, 0, "", f"is no YAML: {' '.join(str(error).split())}")]) from error
    if not isinstance(data, dict):
        what = f"takes a mapping with currency and any of {', '.join(_FIGURES)}"
        raise ScenarioError([Problem(str(path), 0, 0, "", what)])
    problems = [
        Problem(str(path), 0, 0, str(key), f"unknown key; there are currency, {', '.join(_FIGURES)}")
        for key in data
        if key not in ("currency", *_FIGURES)
    ]
    currency = data.get("currency")
    if not isinstance(currency, str) or not 0 < len(currency) <= _CURRENCY_CHARS or not currency.isprintable():
        problems.append(Problem(str(path), 0, 0, "currency", "takes a short text, as EUR"))
    for key in _FIGURES:
        value = data.get(key, 0)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 <= value < math.inf:
            problems.append(Problem(str(path), 0, 0, key, "takes a number, 0 or more"))
    if problems:
        raise ScenarioError(problems)
    return Prices(str(currency), *(float(data.get(key, 0)) for key in _FIGURES))
