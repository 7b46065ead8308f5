"""Seeded randomness: one independent stream per purpose, so that adding a draw in one place moves nothing elsewhere."""

import hashlib
from random import Random


def rng(seed: int, *purpose: object) -> Random:
    """A generator that depends on the run's seed and its purpose only, equal on every machine."""
    name = ":".join(map(str, (seed, *purpose))).encode()
    return Random(int.from_bytes(hashlib.sha256(name).digest()[:8], "big"))  # noqa: S311 - reproducible, not secret
