"""Every kind of fault: what does it, and which mechanism it needs. A new fault is a file of its own and a line here."""

from collections.abc import Callable, Iterable
from typing import Final

from fanlab.errors import EnvironmentFailure
from fanlab.faults.bandwidth import Bandwidth
from fanlab.faults.clock_step import ClockStep
from fanlab.faults.connection_reset import ConnectionReset
from fanlab.faults.cpu_throttle import CpuThrottle
from fanlab.faults.crash import Crash
from fanlab.faults.fault import Fault, Target
from fanlab.faults.half_open import HalfOpen
from fanlab.faults.latency import Latency
from fanlab.faults.memory_limit import MemoryLimit
from fanlab.faults.packet_latency import PacketLatency
from fanlab.faults.packet_partition import PacketPartition
from fanlab.faults.packets import by_packets
from fanlab.faults.partition import Partition
from fanlab.faults.pause import Pause
from fanlab.faults.redis_client_pause import RedisClientPause
from fanlab.faults.redis_disk_full import RedisDiskFull
from fanlab.faults.redis_kill_pubsub import RedisKillPubsub
from fanlab.faults.redis_maxclients import RedisMaxClients
from fanlab.faults.redis_output_buffer import RedisOutputBuffer
from fanlab.faults.restart import Restart
from fanlab.faults.slicing import Slicing
from fanlab.faults.slow_clients import SlowClients
from fanlab.faults.stop import Stop
from fanlab.faults.subscriber_churn import SubscriberChurn
from fanlab.faults.timeline import PlannedFault
from fanlab.topology.backend import Backend, Need


def _either(of_link: Callable[[Target], Fault], of_packets: Callable[[Target], Fault]) -> Callable[[Target], Fault]:
    return lambda target: (of_packets if by_packets(target.settings) else of_link)(target)


FAULTS: Final[dict[str, Callable[[Target], Fault]]] = {
    "crash": Crash,
    "stop": Stop,
    "pause": Pause,
    "restart": Restart,
    "cpu-throttle": CpuThrottle,
    "memory-limit": MemoryLimit,
    "clock-step": ClockStep,
    "subscriber-churn": SubscriberChurn,
    "partition": _either(Partition, PacketPartition),
    "latency": _either(Latency, PacketLatency),
    "bandwidth": Bandwidth,
    "slicing": Slicing,
    "half-open": HalfOpen,
    "slow-clients": SlowClients,
    "connection-reset": ConnectionReset,
    "reconnect-storm": ConnectionReset,  # of the link to the clients
    "redis-restart": Crash,  # the same deed, done to Redis
    "redis-pause": Pause,
    "redis-kill-pubsub": RedisKillPubsub,
    "redis-client-pause": RedisClientPause,
    "redis-output-buffer": RedisOutputBuffer,
    "redis-maxclients": RedisMaxClients,
    "redis-disk-full": RedisDiskFull,
}
HEALED_BY_STARTING: Final = ("crash", "stop", "restart", "memory-limit", "redis-restart")
LINK_OF: Final[dict[str, Callable[[PlannedFault], str]]] = {  # which of a node's links a kind acts on
    **dict.fromkeys(
        ("partition", "latency", "bandwidth", "slicing", "half-open", "connection-reset"),
        lambda fault: str(fault.settings["link"]),
    ),
    "slow-clients": lambda _: "clients",
    "reconnect-storm": lambda _: "clients",
}
NEEDS: Final = {
    "crash": Need.OWN_NODES,
    "stop": Need.OWN_NODES,
    "pause": Need.OWN_NODES,
    "restart": Need.OWN_NODES,
    "cpu-throttle": Need.CPU_LIMIT,
    "memory-limit": Need.MEMORY_LIMIT,
    "clock-step": Need.WALL_CLOCK,
    "subscriber-churn": Need.OWN_NODES,
    **dict.fromkeys(LINK_OF, Need.LINK),
    "redis-restart": Need.OWN_REDIS,
    "redis-pause": Need.OWN_REDIS,
    "redis-disk-full": Need.OWN_REDIS,
}
NEEDS_OF_PACKETS: Final = {"partition": Need.PACKET_FILTER, "latency": Need.PACKET_DELAY}
PREPARED: Final = (Need.CPU_LIMIT, Need.MEMORY_LIMIT, Need.WALL_CLOCK)  # of these a unit must know at its start


def need_of(fault: PlannedFault) -> Need | None:
    """What a fault needs; None: nothing that any backend could lack."""
    return (NEEDS_OF_PACKETS if by_packets(fault.settings) else NEEDS).get(fault.kind)


def refuse_impossible(timeline: Iterable[PlannedFault], backend: Backend) -> None:
    """Raises EnvironmentFailure, with the reason, for the first fault that cannot be done by this backend, here."""
    for fault in timeline:
        need = need_of(fault)
        why = None if need is None else backend.refusal(need)
        if why is not None:
            raise EnvironmentFailure(
                f"{fault.name} cannot be done with --backend {backend.name} here: {why}",
                hint="take the fault out of the scenario, or give it what it needs",
            )


async def prepare(timeline: Iterable[PlannedFault], backend: Backend) -> None:
    """What must be in place before the units start that faults will act on."""
    for unit, need in sorted({(fault.target, NEEDS[fault.kind]) for fault in timeline if fault.kind in NEEDS}):
        if need in PREPARED:
            await backend.prepare(unit, need)
