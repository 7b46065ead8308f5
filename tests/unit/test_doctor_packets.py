"""What `fanlab doctor` says of faults of packets: never that a machine is unfit."""

from pathlib import Path

import pytest

from fanlab.doctor import Finding, examine
from fanlab.topology import netem, packetfilter


def test_each_kind_is_there_or_lacking_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packetfilter, "refusal", lambda: None)
    monkeypatch.setattr(netem, "refusal", lambda: "this kernel has none; use `by: link`")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path / 'nobody.sock'}")
    assert examine(tmp_path)[-2:] == [
        Finding("ok", "partition with `by: packets`, in containers"),
        Finding("note", "no latency with `by: packets`: this kernel has none; use `by: link`"),
    ]
