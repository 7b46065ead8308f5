"""Faults of packets without a kernel that does them: what is ordered, what is read of the answers, what is refused."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from fanlab.errors import EnvironmentFailure, HarnessError
from fanlab.faults.catalogue import need_of, refuse_impossible
from fanlab.faults.fault import Means, Target
from fanlab.faults.inject import made
from fanlab.faults.latency import Latency
from fanlab.faults.laying import wanted
from fanlab.faults.packet_latency import PacketLatency
from fanlab.faults.packet_partition import PacketPartition
from fanlab.faults.partition import Partition
from fanlab.faults.timeline import PlannedFault
from fanlab.rundir import RunDir
from fanlab.topology import netem, packetfilter
from fanlab.topology.backend import REDIS, Backend, Need, NodeEndpoint
from fanlab.topology.netns import Namespace, throwaway
from fanlab.topology.packetfilter import RESTORE, SHOW, Direction, chain_of, dropped, is_laid, laid, lifted
from fanlab.topology.processes import ProcessBackend
from fanlab.topology.tcptable import Connection, Wire, connections, established, way_out

TO_REDIS = Wire("10.0.0.3", peer="10.0.0.2")
TO_CLIENTS = Wire("10.0.0.3", port=8765, spared="10.0.0.1")
NODE = NodeEndpoint("node-1", 0, "ws://10.0.0.3:8765/ws", "http://10.0.0.3:8765", "json", journals=True)
ROUTES = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t0000000A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
"""
TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt uid timeout inode
   0: 0300000A:A223 0200000A:18EB 01 00000034:00000000 01:00000055 0000000{retransmits}  1000 {probes} 41 2
   1: 00000000:223D 00000000:0000 0A 00000000:00000001 00:00000000 00000009  1000        0 42 1 0 100 0 0 10 0
"""
MAPPED = """\
  sl  local_address  remote_address  st tx_queue rx_queue tr tm->when retrnsmt uid timeout
0: 0000000000000000FFFF00000300000A:223D 0000000000000000FFFF00000400000A:C000 01 0:0 00:00000000 00000002 0 1 5
"""
LISTING = """\
Chain fanlab-7 (2 references)
    pkts      bytes target     prot opt in     out     source               destination
      12     1200 DROP       6    --  *      *       10.0.0.2             10.0.0.3
       3      180 DROP       tcp  --  *      *       10.0.0.3             10.0.0.2
       9      999 ACCEPT     all  --  *      *       0.0.0.0/0            0.0.0.0/0
"""
PASSED = """\
ESTAB 0 52 10.0.0.3:41507 10.0.0.2:6379 cubic rto:204 bytes_sent:400 bytes_acked:{acked} bytes_received:{received}
ESTAB 0 0 [::ffff:10.0.0.3]:8765 [::ffff:10.0.0.4]:49152 cubic rto:204 segs_out:1
"""


@pytest.mark.parametrize(
    ("wire", "direction", "rules"),
    [
        (TO_REDIS, "both", ["-d 10.0.0.3 -s 10.0.0.2", "-s 10.0.0.3 -d 10.0.0.2"]),
        (TO_REDIS, "to-node", ["-d 10.0.0.3 -s 10.0.0.2"]),
        (TO_REDIS, "from-node", ["-s 10.0.0.3 -d 10.0.0.2"]),
        (TO_CLIENTS, "to-node", ["-d 10.0.0.3 ! -s 10.0.0.1 --dport 8765"]),
        (TO_CLIENTS, "from-node", ["-s 10.0.0.3 ! -d 10.0.0.1 --sport 8765"]),
    ],
)
def test_a_partition_is_one_text_that_holds_at_once(wire: Wire, direction: Direction, rules: list[str]) -> None:
    lines = laid("fanlab-7", wire, direction).splitlines()
    assert lines == [
        "*filter",
        ":fanlab-7 - [0:0]",
        *(f"-A fanlab-7 -p tcp {rule} -j DROP" for rule in rules),
        "-I INPUT -j fanlab-7",
        "-I OUTPUT -j fanlab-7",
        "COMMIT",
    ]
    assert lifted("fanlab-7").splitlines() == [
        "*filter",
        "-D INPUT -j fanlab-7",
        "-D OUTPUT -j fanlab-7",
        "-F fanlab-7",
        "-X fanlab-7",
        "COMMIT",
    ]


def test_only_what_rules_dropped_is_counted() -> None:
    assert dropped(LISTING) == 15
    assert dropped("") == 0


def test_a_chain_is_there_under_its_whole_name() -> None:
    shown = "-P INPUT ACCEPT\n-N fanlab-71\n-A INPUT -j fanlab-71\n"
    assert is_laid("fanlab-71", shown)
    assert not is_laid("fanlab-7", shown)


OUT = "match ip protocol 6 0xff match ip src 10.0.0.3/32 match ip sport 8765 0xffff"
INTO = "match ip protocol 6 0xff match ip dst 10.0.0.3/32 match ip src 10.0.0.2/32"


def test_a_delay_leads_the_wires_packets_and_no_others_through_netem() -> None:
    said = [" ".join(command) for command in netem.laid("eth0", TO_CLIENTS, "from-node", 1_500_000, 250_000)]
    assert said == [
        "tc qdisc add dev eth0 clsact",
        "ip link add fanlab-out type ifb",
        "ip link set fanlab-out up",
        "tc qdisc add dev fanlab-out root netem limit 1000000 delay 1500us 250us",
        "tc filter add dev eth0 egress protocol ip prio 1 u32 match ip dst 10.0.0.1/32 flowid :1",
        f"tc filter add dev eth0 egress protocol ip prio 2 u32 {OUT} action mirred egress redirect dev fanlab-out",
    ]
    both = [" ".join(command) for command in netem.laid("eth0", TO_REDIS, "both", 1_000, 0)]
    assert both[3:5] == [
        "tc qdisc add dev fanlab-in root netem limit 1000000 delay 1us 0us",
        f"tc filter add dev eth0 ingress protocol ip prio 2 u32 {INTO} action mirred egress redirect dev fanlab-in",
    ]
    assert len(both) == 9
    assert list(netem.lifted("both")) == [["ip", "link", "del", "fanlab-in"], ["ip", "link", "del", "fanlab-out"]]
    assert list(netem.lifted("to-node")) == [["ip", "link", "del", "fanlab-in"]]


def test_what_netem_tells() -> None:
    shown = '[{"kind":"noqueue"},{"kind":"netem","packets":7,"qlen":2},{"kind":"netem","packets":1,"qlen":0}]'
    assert netem.delayed(shown) == (8, 2)
    assert netem.is_laid(shown)
    assert netem.is_laid('[{"kind":"clsact"}]')
    assert not netem.is_laid('[{"kind":"noqueue"}]')


def test_there_and_back_is_as_much_as_each_way_less_its_jitter() -> None:
    assert netem.least_ns("both", 50, 10) == 80
    assert netem.least_ns("to-node", 50, 10) == 40


@pytest.mark.parametrize(("retransmits", "probes", "resent"), [(0, 0, 0), (2, 0, 2), (0, 3, 3)])
def test_what_is_sent_again_by_the_table(retransmits: int, probes: int, resent: int) -> None:
    (one,) = connections(TCP.format(retransmits=retransmits, probes=probes))
    assert one == Connection(("10.0.0.3", 41507), ("10.0.0.2", 6379), resent)


def test_a_socket_of_ipv6_may_have_a_connection_of_ipv4() -> None:
    (one,) = connections(MAPPED)
    assert one == Connection(("10.0.0.3", 8765), ("10.0.0.4", 49152), 3)
    assert list(connections("")) == []


def test_what_has_passed_on_each_connection() -> None:
    redis, client = established(PASSED.format(acked=389, received=70))
    assert redis == Connection(("10.0.0.3", 41507), ("10.0.0.2", 6379), acked=389, received=70)
    assert client == Connection(("10.0.0.3", 8765), ("10.0.0.4", 49152))


def test_a_wire_is_seen_from_both_ends() -> None:
    node, redis, client, gateway = ("10.0.0.3", 8765), ("10.0.0.2", 6379), ("10.0.0.4", 5), ("10.0.0.1", 6)
    asking = ("10.0.0.3", 41507)
    assert TO_REDIS.has(Connection(asking, redis))
    assert TO_REDIS.has(Connection(redis, asking))
    assert not TO_REDIS.has(Connection(node, client))
    assert not TO_REDIS.has(Connection(client, redis))
    assert TO_CLIENTS.has(Connection(node, client))
    assert TO_CLIENTS.has(Connection(client, node))
    assert not TO_CLIENTS.has(Connection(node, gateway))
    assert not TO_CLIENTS.has(Connection(gateway, node))
    assert not TO_CLIENTS.has(Connection(asking, redis))


def test_the_way_out_is_the_default_route() -> None:
    assert way_out(ROUTES) == ("eth0", "10.0.0.1")
    with pytest.raises(EnvironmentFailure, match="no way out"):
        way_out(ROUTES.replace("0100000A", "00000000"))
    with pytest.raises(EnvironmentFailure, match="no way out"):
        way_out("")


def planned(kind: str, link: str = REDIS, **settings: Any) -> PlannedFault:
    of_all = {"link": link, "direction": "both", "share": 1.0, "by": "packets", "mode": "hold"}
    return PlannedFault(7, kind, "node-1", 0, 1, {**of_all, "latency_ns": 50_000_000, "jitter_ns": 0, **settings})


def test_by_packets_is_another_deed_with_another_need_and_takes_no_link() -> None:
    means = Means(cast("Backend", None), "redis://r")
    for kind, of_link, of_packets, need in (
        ("partition", Partition, PacketPartition, Need.PACKET_FILTER),
        ("latency", Latency, PacketLatency, Need.PACKET_DELAY),
    ):
        assert isinstance(made(planned(kind), means), of_packets)
        assert isinstance(made(planned(kind, by="link"), means), of_link)
        assert need_of(planned(kind)) is need
        assert need_of(planned(kind, by="link")) is Need.LINK
    mixed = [planned("partition"), planned("latency", "clients", by="link")]
    assert wanted(mixed) == {("node-1", "clients")}


def test_processes_share_the_machines_network_which_is_not_touched(tmp_path: Path) -> None:
    backend = ProcessBackend(RunDir(tmp_path / "run"))
    for kind in ("partition", "latency"):
        with pytest.raises(
            EnvironmentFailure, match=f"{kind} node-1 cannot be done .*use --backend docker, or `by: link`"
        ):
            refuse_impossible([planned(kind)], backend)
        refuse_impossible([planned(kind, by="link")], backend)


@pytest.mark.parametrize("refusal", [packetfilter.refusal, netem.refusal])
def test_without_the_programs_the_refusal_says_which_one_is_lacking(
    refusal: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("fanlab.topology.netns._SBIN", str(tmp_path))
    refusal.cache_clear()
    try:
        assert "it needs nsenter (apt-get install util-linux)" in refusal()
        assert "use `by: link`" in refusal()
    finally:
        refusal.cache_clear()


@pytest.mark.parametrize("refusal", [packetfilter.refusal, netem.refusal])
def test_only_root_enters_a_containers_network(refusal: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fanlab.topology.netns.program", lambda name: f"/sbin/{name}")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    refusal.cache_clear()
    try:
        assert "it takes root, on the engine's machine" in refusal()
        assert "use `by: link`" in refusal()
    finally:
        refusal.cache_clear()


def test_where_no_namespace_can_be_made_the_reason_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "unshare"
    fake.write_text("#!/bin/sh\necho 'unshare failed: Operation not permitted' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setattr("fanlab.topology.netns.program", lambda _: str(fake))
    with (
        pytest.raises(EnvironmentFailure, match="can be made here: unshare failed: Operation not permitted"),
        throwaway(),
    ):
        pass


@dataclass
class NotingSpace:
    """A namespace that does nothing but remember, and answers as it is told to."""

    tables: dict[str, str] = field(
        default_factory=lambda: {"route": ROUTES, "tcp": TCP.format(retransmits=1, probes=0)}
    )
    answers: dict[str, str] = field(default_factory=dict)  # by the program asked
    asked: list[tuple[Sequence[str], str]] = field(default_factory=list)
    handshakes_ns: list[int] = field(default_factory=list)
    shaken: list[tuple[str, int]] = field(default_factory=list)
    lasts: bool = True

    def run(self, argv: Sequence[str], told: str = "") -> str:
        self.asked.append((argv, told))
        return self.answers.get(argv[0], "")

    def read(self, name: str) -> str:
        return self.tables.get(name, "")

    def handshake_ns(self, address: str, port: int) -> int:
        self.shaken.append((address, port))
        return self.handshakes_ns.pop(0)


class Containers:
    """As much of a backend as faults of packets ask for."""

    pids: dict[str, int | None] = {"node-1": 41, REDIS: 42}  # noqa: RUF012 - a test puts in another

    def host_of(self, unit: str) -> str:
        return {"node-1": "10.0.0.3", REDIS: "10.0.0.2"}[unit]

    def pid(self, unit: str) -> int | None:
        return self.pids[unit]

    def helpers(self) -> dict[str, int]:
        return {"load-1": 43}

    async def probe(self, unit: str) -> bool:
        return unit == "node-1"


@pytest.fixture
def spaces(monkeypatch: pytest.MonkeyPatch) -> dict[int, NotingSpace]:
    """By the pid that lives there: the node's, Redis', a load worker's."""
    made_of = {41: NotingSpace(), 42: NotingSpace(tables={}), 43: NotingSpace(tables={})}
    monkeypatch.setattr(Namespace, "of", lambda pid: made_of[pid])
    return made_of


def target(fault: PlannedFault) -> Target:
    means = Means(cast("Backend", Containers()), "redis://r", nodes={"node-1": NODE})
    return Target(means, fault.target, fault.id, fault.for_ns, fault.settings)


async def test_a_partition_has_bitten_when_packets_are_dropped_and_tcp_notices(spaces: dict[int, NotingSpace]) -> None:
    node, fault = spaces[41], PacketPartition(target(planned("partition")))
    await fault.inject()
    assert node.asked == [(RESTORE, laid(chain_of(7), TO_REDIS, "both"))]
    assert not await fault.has_bitten(), "nothing was dropped"
    assert fault.lacks() == "nothing was sent between node-1 and Redis that would have been dropped"
    node.answers = {"iptables": LISTING, "ss": PASSED.format(acked=389, received=70)}
    node.tables["tcp"] = TCP.format(retransmits=0, probes=0)
    assert not await fault.has_bitten(), "nobody tries in vain"
    spaces[42].tables["tcp"] = TCP.format(retransmits=3, probes=0)  # Redis does
    assert await fault.has_bitten()
    await fault.heal()
    assert node.asked[-1] == (RESTORE, lifted(chain_of(7)))
    node.answers["iptables"] = "-P INPUT ACCEPT"
    assert not await fault.has_healed(), "Redis still tries in vain"
    spaces[42].tables["tcp"] = TCP.format(retransmits=0, probes=0)
    assert await fault.has_healed()
    node.answers["iptables"] = f"-N {chain_of(7)}"
    assert not await fault.has_healed(), "a rule is left"
    assert {argv for argv, _ in node.asked if "-S" in argv} == {SHOW}


@pytest.mark.parametrize(
    ("direction", "acked", "received", "came"),
    [("both", 390, 70, 1), ("both", 389, 75, 5), ("to-node", 389, 75, 5), ("from-node", 391, 75, 2)],
)
async def test_a_partition_of_packets_through_which_something_came_is_none(
    spaces: dict[int, NotingSpace], direction: str, acked: int, received: int, came: int
) -> None:
    node, fault = spaces[41], PacketPartition(target(planned("partition", direction=direction)))
    await fault.inject()
    node.answers = {"iptables": LISTING, "ss": PASSED.format(acked=389, received=70)}
    assert await fault.has_bitten()
    node.answers["ss"] = PASSED.format(acked=acked, received=received)
    with pytest.raises(EnvironmentFailure, match=f"{came} bytes came through the partition"):
        await fault.heal()
    assert node.asked[-1] == (RESTORE, lifted(chain_of(7))), "it is removed all the same"


async def test_one_way_the_other_ways_bytes_may_come(spaces: dict[int, NotingSpace]) -> None:
    node, fault = spaces[41], PacketPartition(target(planned("partition", direction="from-node")))
    await fault.inject()
    node.answers = {"iptables": LISTING, "ss": PASSED.format(acked=389, received=70)}
    assert await fault.has_bitten()
    node.answers["ss"] = PASSED.format(acked=389, received=99)
    await fault.heal()


async def test_what_ends_with_its_node_is_no_fault_that_was_healed(spaces: dict[int, NotingSpace]) -> None:
    fault = PacketPartition(target(planned("partition", "clients")))
    await fault.inject()
    assert spaces[41].asked[0][1] == laid(chain_of(7), TO_CLIENTS, "both")
    spaces[41].lasts = False
    with pytest.raises(EnvironmentFailure, match="node-1 has ended: its network has gone"):
        await fault.heal()


async def test_a_node_that_does_not_run_has_no_network(
    spaces: dict[int, NotingSpace], monkeypatch: pytest.MonkeyPatch
) -> None:
    del spaces
    monkeypatch.setattr(Containers, "pids", {"node-1": None, REDIS: 42})
    fault = PacketPartition(target(planned("partition")))
    with pytest.raises(EnvironmentFailure, match="node-1 does not run"):
        await fault.inject()
    with pytest.raises(HarnessError):
        await fault.has_bitten()


NETEM, NO_NETEM = '[{{"kind":"netem","packets":{packets},"qlen":{held}}}]', '[{"kind":"noqueue"}]'


async def test_a_delay_has_bitten_when_a_handshake_takes_longer_and_packets_came_through_it(
    spaces: dict[int, NotingSpace],
) -> None:
    node, fault = spaces[41], PacketLatency(target(planned("latency")))
    node.handshakes_ns = [3, 200_000_000, 5]  # the machine is busy: the least of them counts
    await fault.inject()
    assert [list(argv) for argv, _ in node.asked] == list(netem.laid("eth0", TO_REDIS, "both", 50_000_000, 0))
    node.answers["tc"] = NETEM.format(packets=0, held=0)
    node.handshakes_ns = [99_000_000, 100_000_000, 100_000_000]
    assert not await fault.has_bitten(), "too quick"
    assert fault.lacks() == "a handshake between node-1 and Redis took 99.000 of 100 ms"
    assert not await fault.has_bitten(), "nothing came through it"
    assert fault.lacks().endswith("of 100 ms; no packet has come through netem")
    node.answers["tc"] = NETEM.format(packets=2, held=0)
    assert await fault.has_bitten()
    assert set(node.shaken) == {("10.0.0.2", 6379)}
    asked = len(node.asked)
    await fault.heal()
    said = [argv[:3] for argv, _ in node.asked[asked:]]
    assert said == [["tc", "qdisc", "del"], netem.SHOW[:3], ["ip", "link", "del"], ["ip", "link", "del"]]
    node.handshakes_ns = [4, 4]
    assert not await fault.has_healed(), "netem is there"
    node.answers["tc"] = NO_NETEM
    assert await fault.has_healed()


async def test_a_delay_lets_go_of_what_it_holds_before_it_is_removed(
    spaces: dict[int, NotingSpace], monkeypatch: pytest.MonkeyPatch
) -> None:
    node, fault = spaces[41], PacketLatency(target(planned("latency", direction="to-node")))
    node.handshakes_ns = [1, 1, 1]
    await fault.inject()
    left = [3, 1, 0]

    def run(argv: Sequence[str], told: str = "") -> str:
        node.asked.append((argv, told))
        return NETEM.format(packets=9, held=left.pop(0)) if argv == netem.SHOW else ""

    monkeypatch.setattr(node, "run", run)
    async with asyncio.timeout(10):
        await fault.heal()
    assert left == []
    assert node.asked[-1][0] == ["ip", "link", "del", "fanlab-in"]


async def test_where_a_handshake_takes_as_long_anyway_no_delay_could_be_seen(spaces: dict[int, NotingSpace]) -> None:
    spaces[43].handshakes_ns = [100_000_000, 100_000_001, 100_000_002]
    with pytest.raises(EnvironmentFailure, match=r"takes 100\.000 ms here anyway"):
        await PacketLatency(target(planned("latency", "clients"))).inject()
    assert spaces[43].shaken == [("10.0.0.3", 8765)] * 3
    assert spaces[41].asked == []


async def test_a_delay_needs_a_connection_to_delay(
    spaces: dict[int, NotingSpace], monkeypatch: pytest.MonkeyPatch
) -> None:
    spaces[41].tables["tcp"] = ""
    with pytest.raises(EnvironmentFailure, match="no connection to Redis"):
        await PacketLatency(target(planned("latency"))).inject()
    monkeypatch.setattr(Containers, "helpers", lambda _: {})
    with pytest.raises(EnvironmentFailure, match="nobody whose connections"):
        await PacketLatency(target(planned("latency", "clients"))).inject()
