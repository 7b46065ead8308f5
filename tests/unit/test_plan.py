"""The plan that a manifest keeps, and how an older one is read."""

import json
from dataclasses import asdict

from tests.support.accounts import make_scenario

from fanlab.scenario.plan import make_plan, plan_from_json


def test_a_plan_survives_its_manifest():
    plan = make_plan(make_scenario(topology={"nodes": [{"count": 2}, {"count": 1, "journal": False}]}))
    assert [node.journal for node in plan.nodes] == [True, True, False]
    assert plan_from_json(json.loads(json.dumps(asdict(plan)))) == plan


def test_a_node_of_a_manifest_from_before_black_boxes_keeps_a_journal():
    data = json.loads(json.dumps(asdict(make_plan(make_scenario()))))
    for node in data["nodes"]:
        del node["journal"]
    assert all(node.journal for node in plan_from_json(data).nodes)
