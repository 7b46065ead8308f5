"""How much other machines get by default, and what an error says to raise."""

from collections.abc import Sequence
from typing import Any

import pytest

from fanlab.errors import ScenarioError
from fanlab.load.caps import Caps, peak_rate_per_s, refuse_excess
from fanlab.scenario.model import Scenario


def scenario(clients: int = 10, readers: Sequence[Any] = (), **publisher: Any) -> Scenario:
    return Scenario.model_validate(
        {
            "name": "caps",
            "question": "How much is too much?",
            "topology": {"nodes": {"count": 1}},
            "channels": ["news"],
            "clients": [{"group": "a", "count": clients, "channels": ["news"]}],
            "publishers": [{"name": "p", "channel": "news", "rate": "10/s", **publisher}],
            "readers": list(readers),
        }
    )


@pytest.mark.parametrize(
    ("publisher", "peak"),
    [
        ({"rate": "50/s"}, 50),
        ({"rate": "50/s", "count": 3}, 150),
        ({"rate": {"kind": "poisson", "rate": "70/s"}}, 70),
        ({"rate": {"kind": "ramp", "from": "10/s", "to": "90/s", "over": "5s"}}, 90),
        ({"rate": {"kind": "ramp", "from": "95/s", "to": "5/s", "over": "5s"}}, 95),
        ({"rate": {"kind": "step", "steps": [{"at": "0s", "rate": "1/s"}, {"at": "2s", "rate": "44/s"}]}}, 44),
        ({"rate": {"kind": "burst", "size": 500, "every": "10s"}}, 500),
        ({"rate": {"kind": "burst", "size": 5, "every": "100ms"}}, 50),
    ],
)
def test_the_peak_of_each_kind_of_rate(publisher: dict[str, Any], peak: float) -> None:
    assert peak_rate_per_s(scenario(**publisher)) == peak


def test_reads_count_as_well() -> None:
    assert peak_rate_per_s(scenario(objects=5, readers=[{"name": "r", "channel": "news", "rate": "30/s"}])) == 40


def test_this_machine_has_no_caps() -> None:
    refuse_excess(scenario(clients=5000, rate="100k/s"), Caps(), [])


def test_what_is_within_the_caps_is_let_through() -> None:
    refuse_excess(scenario(clients=1000, rate="1k/s"), Caps(), ["shop"])


def test_both_caps_are_told_with_what_to_raise() -> None:
    with pytest.raises(ScenarioError) as caught:
        refuse_excess(scenario(clients=1001, rate="1000.5/s"), Caps(), ["shop", "10.0.0.6"])
    rate, clients = caught.value.problems
    assert "up to 1000/s" in rate.what or "up to 1k" in rate.what
    assert rate.what.endswith("allow it: --max-rate 1001/s")
    assert "shop, 10.0.0.6 are other machines" in rate.what
    assert clients.what.endswith("allow it: --max-connections 1001")


def test_caps_that_were_raised_hold_no_further() -> None:
    caps = Caps(rate_per_s=2000, connections=1500)
    refuse_excess(scenario(clients=1500, rate="2k/s"), caps, ["shop"])
    with pytest.raises(ScenarioError, match="no more than 1500"):
        refuse_excess(scenario(clients=1501), caps, ["shop"])
    with pytest.raises(ScenarioError, match="no more than 2k/s"):
        refuse_excess(scenario(rate="2001/s"), caps, ["shop"])
