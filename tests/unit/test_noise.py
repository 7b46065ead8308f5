"""The noise file: by host and scenario, added to and never mixed up; and a file that is none."""

from pathlib import Path

import pytest

from fanlab.analysis.compare import LEAST_EFFECT
from fanlab.errors import EnvironmentFailure
from fanlab.noise import Noise, default_file, host_key, read_noise, write_noise

HERE = {"system": "Linux", "machine": "x86_64", "processor": "one", "cores": 2, "memory_bytes": 8, "kernel": "6.1"}
NOISE = Noise("quickstart", "abc", 24, {"p50": [0.2, -0.2] * 6, "p99": [0.5] * 4})


def test_noise_is_of_a_host_and_a_scenario(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "noise.json"
    other = NOISE.__class__("steady", "def", 24, {"p50": [0.0] * 12})
    for host, noise in ((HERE, NOISE), (HERE, other), ({**HERE, "cores": 8}, other)):
        write_noise(file, host, noise)
    assert read_noise(file, {**HERE, "kernel": "6.2"}, "abc") == NOISE
    assert read_noise(file, HERE, "def") == other
    assert read_noise(file, {**HERE, "cores": 8}, "abc") is None
    assert read_noise(tmp_path / "none.json", HERE, "abc") is None


def test_a_figure_with_too_few_pairs_gives_no_effect() -> None:
    effects = NOISE.min_effects(12)
    assert list(effects) == ["p50"]
    assert effects["p50"] > LEAST_EFFECT


@pytest.mark.parametrize("text", ["", "[]", '{"noise_version": 2, "hosts": {}}', '{"noise_version": 1}'])
def test_a_file_that_is_none_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "noise.json").write_text(text)
    with pytest.raises(EnvironmentFailure):
        read_noise(tmp_path / "noise.json", HERE, "abc")


def test_it_is_kept_in_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_file() == tmp_path / "fanlab" / "noise.json"
    assert host_key(HERE) != host_key({**HERE, "processor": "two"})
