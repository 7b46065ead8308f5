"""Addresses on a run's own network: each unit's is chosen before it starts, and stays its own across restarts. Pure."""

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from fanlab.errors import EnvironmentFailure

_SPARED: Final = 2  # the network's own address, and the gateway's, which engines put first


@dataclass(slots=True)
class Addresses:
    """The addresses of one subnet, handed out in order."""

    subnet: IPv4Network
    gateway: IPv4Address
    _given: dict[str, IPv4Address] = field(default_factory=dict)

    def of(self, unit: str) -> str:
        """The unit's address. Raises EnvironmentFailure when the subnet has no more."""
        if unit not in self._given:
            self._given[unit] = self._next(unit)
        return str(self._given[unit])

    def _next(self, unit: str) -> IPv4Address:
        taken = {self.gateway, *self._given.values()}
        for number in range(_SPARED, self.subnet.num_addresses - 1):  # the last one is for broadcasts
            if (address := self.subnet[number]) not in taken:
                return address
        raise EnvironmentFailure(
            f"the engine gave the run the network {self.subnet}, which has no address left for {unit}",
            hint="give the engine larger pools: default-address-pools in its daemon.json",
        )


def mac_of(address: str) -> str:
    """The hardware address that goes with an address, so that a restarted unit's neighbours find it again at once."""
    return ":".join(["02", "42", *(f"{byte:02x}" for byte in IPv4Address(address).packed)])
