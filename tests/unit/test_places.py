"""Each run gets a directory of its own, and `latest` points at the newest."""

from pathlib import Path

import pytest

from fanlab import places
from fanlab.errors import EnvironmentFailure


def test_runs_within_one_second_get_directories_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "utc_stamp", lambda: "20260131T235959Z")
    made = [places.new_place("steady", tmp_path) for _ in range(3)]
    assert [place.name for place in made] == ["20260131T235959Z", "20260131T235959Z-2", "20260131T235959Z-3"]
    assert all(place.is_dir() for place in made)
    assert (tmp_path / "steady" / "latest").resolve() == made[-1].resolve()


def test_a_place_that_cannot_be_made_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "steady").write_text("a file")
    with pytest.raises(EnvironmentFailure, match="--out"):
        places.new_place("steady", tmp_path)
