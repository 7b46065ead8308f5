"""A scenario as it may be shown and written: the same one, without the secrets in its settings. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from fanlab.redaction import Secrets, hide_setting, secrets_of_settings
from fanlab.scenario.loader import Loaded
from fanlab.scenario.model import Scenario


def secrets_of(scenario: Scenario) -> Iterator[str]:
    """The secrets in the settings of nodes and Redis."""
    for settings in (*(group.env for group in scenario.topology.nodes), scenario.topology.redis.config):
        yield from secrets_of_settings(settings)


def redacted(loaded: Loaded, secrets: Secrets) -> Loaded:
    """One without these secrets, nor any that stand in its settings."""
    scenario, topology = loaded.scenario, loaded.scenario.topology
    nodes = [group.model_copy(update={"env": _hidden(group.env, secrets)}) for group in topology.nodes]
    redis = topology.redis.model_copy(update={"config": _hidden(topology.redis.config, secrets)})
    update = {
        "topology": topology.model_copy(update={"nodes": nodes, "redis": redis}),
        "question": secrets.hide(scenario.question),
        "expect": secrets.hide(scenario.expect),
    }
    return replace(loaded, scenario=scenario.model_copy(update=update), cell=_hidden(loaded.cell, secrets))


def _hidden(settings: Mapping[str, object], secrets: Secrets) -> dict[str, object]:
    return {name: hide_setting(name, value, secrets) for name, value in settings.items()}
