"""In containers: the warden killed, and both: nothing is left, and nobody else's is touched."""

from collections.abc import Callable
from typing import Any

import pytest

from support import killing
from support.killing import Case, new_case

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]


@pytest.mark.parametrize("way", [killing.warden_killed, killing.both_killed])
def test_nothing_is_left_at_the_engine(engine: Any, way: Callable[[Case], None]) -> None:
    _, image = killing.engine()
    with new_case("docker", engine, image) as case:
        way(case)
        assert case.problems == [], case.log.read_text()
