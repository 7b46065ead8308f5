"""A real Docker engine, or a visible reason why there is none."""

import os
from collections.abc import Iterator
from typing import Any

import pytest

from fanlab.errors import EnvironmentFailure
from fanlab.topology.engine import connect
from support.docker_runs import Labelled


@pytest.fixture(scope="session")
def engine() -> Iterator[Any]:
    """The SDK's low-level client of an engine that answers; FANLAB_REQUIRE_DOCKER=1 fails where there is none."""
    try:
        client = connect()
    except EnvironmentFailure as error:
        message = f"no Docker engine answers; start one, or see .ci/engine ({error.message})"
        if os.environ.get("FANLAB_REQUIRE_DOCKER") == "1":
            pytest.fail(message)
        pytest.skip(message)
    yield client.api
    client.close()


@pytest.fixture
def labelled(engine: Any) -> Labelled:
    """Looks at the engine."""
    return Labelled(engine)
