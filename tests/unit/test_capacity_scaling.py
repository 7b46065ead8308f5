"""The law over the knees of several searches, from documents made by hand: what is foretold, refused, and shown."""

from pathlib import Path
from typing import Any

import pytest

from fanlab.capacity.scaling import Over, scaling, standard_error
from fanlab.report.capacity.scaling import sections
from fanlab.report.capacity.write import write_capacity
from support.capacity_documents import ANSWER, SATURATION, a_document


def knee(load: float, share: float = 0.05, status: str = "answer") -> dict[str, Any]:
    """What a capacity.json says of a knee that is known to about that share."""
    document = a_document(ANSWER)
    ends = {"load": load, "low": load * (1 - share), "high": load * (1 + share), "confidence": 0.9}
    return {**document, **ends, "status": status, "saturation": SATURATION}


def law(nodes: int) -> float:
    """100 a second of one node, and a tenth of the work waits its turn."""
    return 100 * nodes / (1 + 0.1 * (nodes - 1))


FOUR = [(nodes, knee(law(nodes))) for nodes in (1, 2, 3, 4)]


def test_what_is_measured_is_fitted_held_out_and_foretold() -> None:
    found = scaling(FOUR, Over(2, (1, 3, 4), (6, 8)))
    model, rows = found["model"], found["forecast"]["rows"]
    assert model["one_node"] == pytest.approx(100, rel=0.01)
    assert model["contention"] == pytest.approx(0.1, rel=0.05)
    assert model["crosstalk"] == pytest.approx(0, abs=1e-6)
    assert [each["search"] for each in model["points"]] == ["nodes-1", ".", "nodes-3", "nodes-4"]
    assert {each["saturates"] for each in model["points"]} == {"node-1"}
    assert model["held_out"]["nodes"] == 4
    assert model["held_out"]["value"] == pytest.approx(law(4), rel=0.01)
    assert model["held_out"]["inside"]
    assert [each["nodes"] for each in rows] == [6, 8]
    for each in rows:
        assert each["low"] < law(each["nodes"]) < each["high"]
        assert not each["guess"]
    assert model["curve"][-1]["nodes"] == 8


def test_a_point_off_the_law_is_said_to_be_outside() -> None:
    off = [*FOUR[:3], (4, knee(2 * law(4)))]
    held = scaling(off, Over(1, (2, 3, 4)))["model"]["held_out"]
    assert (held["found"], held["inside"]) == (2 * law(4), False)


def test_the_band_is_as_wide_as_knees_are_unsure() -> None:
    def width(share: float) -> float:
        knees = [(nodes, knee(law(nodes), share)) for nodes in (1, 2, 3, 4)]
        (row,) = scaling(knees, Over(1, (2, 3, 4), (6,)))["forecast"]["rows"]
        return float(row["high"] - row["low"])

    assert width(0.02) < width(0.1) < width(0.3)


def test_what_is_far_gets_no_number_unless_forced() -> None:
    (far,) = scaling(FOUR, Over(1, (2, 3, 4), (9,)))["forecast"]["rows"]
    assert far == {
        "nodes": 9,
        "refused": "past 2 times the 4 nodes that were measured: measure more, or --force a guess",
    }
    found = scaling(FOUR, Over(1, (2, 3, 4), (9,), force=True))
    (guess,) = found["forecast"]["rows"]
    assert guess["guess"]
    assert found["model"]["curve"][-1]["nodes"] == 9


def test_only_answers_count() -> None:
    three = [*FOUR[:3], (4, knee(1.0, status="bound"))]
    found = scaling(three, Over(1, (2, 3, 4)))["model"]
    assert [each["nodes"] for each in found["points"]] == [1, 2, 3]
    assert found["held_out"] is None
    with pytest.raises(ValueError, match="3 parameters"):
        scaling([*FOUR[:2], (4, knee(1.0, status="none"))], Over(1, (2, 4)))


def test_a_standard_error_is_of_the_interval() -> None:
    assert standard_error(knee(100, 0.1)) == pytest.approx(0.061, abs=0.001)  # ln(1.1 / 0.9) / (2 × 1.645)
    assert standard_error({"low": 3, "high": 3, "confidence": None}) == 0.005


@pytest.mark.parametrize("foretold", [(), (6, 9)])
def test_the_report_shows_it(tmp_path: Path, foretold: tuple[int, ...]) -> None:
    found = scaling(FOUR, Over(2, (1, 3, 4), foretold))
    whole = write_capacity(tmp_path, a_document(ANSWER), sections(found))
    assert whole["model"] == found["model"]
    assert whole["forecast"] == (found["forecast"] if foretold else None)
    for name in ("capacity.html", "capacity.md"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert "Scaling over nodes" in text
        assert "inside the band" in text
        assert "Universal Scalability Law" in text
        assert ("past 2 times the 4 nodes" in text) == bool(foretold)
    rows = (tmp_path / "charts" / "scaling.csv").read_text(encoding="utf-8").splitlines()
    assert rows[0] == "nodes,kind,value,low,high"
    assert sum("foretold" in row for row in rows) == (1 if foretold else 0)


def test_a_report_says_what_went_outside(tmp_path: Path) -> None:
    found = scaling([*FOUR[:3], (4, knee(2 * law(4)))], Over(1, (2, 3, 4)))
    write_capacity(tmp_path, a_document(ANSWER), sections(found))
    assert "OUTSIDE the band" in (tmp_path / "capacity.md").read_text(encoding="utf-8")
