"""What a toxic's attributes must be. ValueError says which is wrong, and how."""

import math


def number(effect: object, *names: str) -> None:
    """These attributes are finite numbers."""
    for name in names:
        value = getattr(effect, name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(f"{name} must be a number, not {value!r}")


def whole(effect: object, *names: str) -> None:
    """These attributes are whole numbers."""
    for name in names:
        value = getattr(effect, name)
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"{name} must be a whole number, not {value!r}")  # noqa: TRY004 - the author's error


def not_negative(effect: object, *names: str) -> None:
    """These attributes are numbers from 0."""
    number(effect, *names)
    for name in names:
        if getattr(effect, name) < 0:
            raise ValueError(f"{name} must not be negative, and is {getattr(effect, name)!r}")


def positive(effect: object, *names: str) -> None:
    """These attributes are numbers above 0."""
    number(effect, *names)
    for name in names:
        if getattr(effect, name) <= 0:
            raise ValueError(f"{name} must be above 0, and is {getattr(effect, name)!r}")
