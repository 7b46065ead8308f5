"""The network of a run: a bridge of its own, on a subnet that the engine chose."""

from ipaddress import IPv4Network
from typing import Any, Final

from docker.errors import APIError

from fanlab.errors import EnvironmentFailure
from fanlab.topology.addresses import Addresses
from fanlab.topology.ports import HOST

TRIES: Final = 8
# What is published without an address is published on 127.0.0.1 all the same.
_OPTIONS: Final = {"com.docker.network.bridge.host_binding_ipv4": HOST}


def make_network(api: Any, name: str, labels: dict[str, str]) -> Addresses:
    """Make it. Raises EnvironmentFailure if the engine gives none, and the SDK's errors.

    An engine fixes addresses only on a subnet that it was told, and knows better than we which one is free here: it is
    asked for a network first, and then for the same one by its subnet.
    """
    for _ in range(TRIES):
        subnet = _free_subnet(api, name, labels)
        try:
            _make(api, name, labels, {"Config": [{"Subnet": str(subnet), "Gateway": str(subnet[1])}]})
        except APIError as error:
            if "overlap" in str(error).lower():  # somebody else was given it in between
                continue
            raise
        return Addresses(subnet, subnet[1])
    raise EnvironmentFailure("the Docker engine gave the run no network: each was somebody else's at once")


def _free_subnet(api: Any, name: str, labels: dict[str, str]) -> IPv4Network:
    network = _make(api, name, labels, None)
    try:
        configs = api.inspect_network(network)["IPAM"]["Config"] or []
    finally:
        api.remove_network(network)
    subnets = [config["Subnet"] for config in configs if ":" not in config["Subnet"]]
    if not subnets:
        raise EnvironmentFailure("the Docker engine makes networks without IPv4, which a run needs")
    return IPv4Network(subnets[0])


def _make(api: Any, name: str, labels: dict[str, str], ipam: dict[str, Any] | None) -> str:
    made = api.create_network(
        name, driver="bridge", labels=labels, ipam=ipam, options=_OPTIONS, check_duplicate=True, attachable=False
    )
    return str(made["Id"])
