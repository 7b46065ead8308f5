"""Containers without an engine: what they are made as, what they are called, where they stand on their network."""

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from fanlab import clock
from fanlab.errors import EnvironmentFailure
from fanlab.rundir import RunDir
from fanlab.topology.addresses import Addresses, mac_of
from fanlab.topology.choose import make_backend
from fanlab.topology.containerprocess import ContainerProcess, exit_status, group_path
from fanlab.topology.containers import DockerBackend
from fanlab.topology.containerspec import Attached, ContainerSpec, Mount, Published
from fanlab.topology.external import ExternalBackend
from fanlab.topology.labels import Marks, Owner
from fanlab.topology.processes import ProcessBackend
from fanlab.topology.samemachine import judge, look_from
from fanlab.topology.sharedfiles import SharedFiles

API, NEWER = (1, 41), (1, 44)
SPEC = ContainerSpec(
    image="fanlab-node:0",
    user="65532:65532",
    labels={"fanlab.run": "r"},
    argv=("python", "server.py"),
    env={"FANLAB_PORT": "8765"},
    open_files=1024,
    mounts=(Mount(Path("/run/journal/node-1.jsonl"), "/journal/node-1.jsonl"),),
    scratch=frozenset({"/data"}),
    published=Published(8765, 40_001),
    attached=Attached("net", "172.20.0.3", "node-1"),
    cpus=0.25,
    memory_bytes=64_000_000,
)


def test_a_container_may_do_as_little_as_can_be() -> None:
    body = SPEC.body(API)
    host = body["HostConfig"]
    assert body["User"] == "65532:65532"
    assert body["Labels"] == {"fanlab.run": "r"}
    assert (host["CapDrop"], host["SecurityOpt"], host["Privileged"]) == (["ALL"], ["no-new-privileges:true"], False)
    assert (host["ReadonlyRootfs"], host["Init"], host["RestartPolicy"]) == (True, True, {"Name": "no"})
    assert set(host["Tmpfs"]) == {"/tmp", "/data"}
    assert all("size=64m" in options and "noexec" in options for options in host["Tmpfs"].values())
    assert 0 < host["PidsLimit"] <= 512
    assert host["PortBindings"] == {"8765/tcp": [{"HostIp": "127.0.0.1", "HostPort": "40001"}]}
    assert host["Mounts"] == [
        {
            "Type": "bind",
            "Source": "/run/journal/node-1.jsonl",
            "Target": "/journal/node-1.jsonl",
            "ReadOnly": False,
        }
    ]
    assert json.loads(json.dumps(body)) == body


def test_limits_are_quotas_that_can_be_changed_later_and_memory_without_swap() -> None:
    host = SPEC.body(API)["HostConfig"]
    assert host["CpuQuota"] / host["CpuPeriod"] == 0.25
    assert "NanoCpus" not in host
    assert host["Memory"] == host["MemorySwap"] == 64_000_000


def test_a_command_of_ones_own_replaces_the_images_whole_command_line() -> None:
    body = SPEC.body(API)
    assert (body["Entrypoint"], body["Cmd"]) == (["python", "server.py"], [])
    assert body["Env"] == ["HOME=/tmp", "FANLAB_PORT=8765"]
    bare = ContainerSpec(image="i", user="1:1", labels={}, argv=None, env={"HOME": "/x"}, open_files=9).body(API)
    assert "Entrypoint" not in bare
    assert "Cmd" not in bare
    assert bare["Env"] == ["HOME=/x"]
    assert bare["HostConfig"]["NetworkMode"] == "none"
    assert {"PortBindings", "CpuQuota", "Memory"}.isdisjoint(bare["HostConfig"])


def test_addresses_are_fixed_and_so_are_those_of_the_hardware() -> None:
    old, new = SPEC.body(API), SPEC.body(NEWER)
    endpoint = {"IPAMConfig": {"IPv4Address": "172.20.0.3"}, "Aliases": ["node-1"]}
    assert old["NetworkingConfig"]["EndpointsConfig"] == {"net": endpoint}
    assert old["MacAddress"] == mac_of("172.20.0.3") == "02:42:ac:14:00:03"
    assert new["NetworkingConfig"]["EndpointsConfig"]["net"]["MacAddress"] == old["MacAddress"]
    assert "MacAddress" not in new


def test_each_unit_has_an_address_of_its_own_and_keeps_it() -> None:
    addresses = Addresses(IPv4Network("10.1.2.0/29"), IPv4Address("10.1.2.3"))
    given = [addresses.of(name) for name in ("a", "b", "a", "c", "d")]
    assert given == ["10.1.2.2", "10.1.2.4", "10.1.2.2", "10.1.2.5", "10.1.2.6"]
    with pytest.raises(EnvironmentFailure, match=r"10\.1\.2\.0/29, which has no address left for e"):
        addresses.of("e")


def test_names_and_labels_tell_run_owner_and_unit() -> None:
    marks = Marks.new(Owner(7, 8, "boot", "ns", "host"))
    assert marks.name("node-1") == f"fanlab-{marks.run_id[:8]}-node-1"
    assert marks.labels("node-1") == {
        "fanlab.run": marks.run_id,
        "fanlab.owner": "7:8:boot:ns@host",
        "fanlab.user": str(os.getuid()),
        "fanlab.unit": "node-1",
    }
    assert Marks.new(marks.owner).run_id != marks.run_id


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_an_owner_is_alive_only_as_the_very_process_it_was() -> None:
    me = Owner.of(os.getpid())
    assert me.alive()
    assert Owner.parse(str(me)) == me
    for other in ({"start_ticks": me.start_ticks + 1}, {"boot_id": "another boot"}, {"namespace": "a container's"}):
        assert not replace(me, **other).alive(), other
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        owner = Owner.of(child.pid)
        assert owner.alive()
        child.communicate(b"\n")
    assert not owner.alive()
    for text in ("", "1:2", "1:2:boot:namespace", "a:2:boot:namespace@host"):
        with pytest.raises(ValueError, match=r".+"):
            Owner.parse(text)


@pytest.mark.parametrize(
    ("code", "status"), [(0, 0), (1, 1), (128, 128), (137, -9), (143, -15), (255, 255), (128 + 65, 193)]
)
def test_an_inits_exit_code_is_its_childs_status(code: int, status: int) -> None:
    assert exit_status(code) == status


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_process_has_a_group_and_one_that_is_gone_has_none() -> None:
    assert group_path(2**22 + 1, "cpu") is None
    line = Path("/proc/self/cgroup").read_text().splitlines()[0].split(":", 2)
    assert group_path(os.getpid(), line[1].split(",")[0]) == (line[2].lstrip("/") or None)


def test_an_engine_that_is_elsewhere_is_known_by_its_boot_id(tmp_path: Path) -> None:
    place = tmp_path / "look"
    spec = look_from(place, "image", user="1:1", labels={}, open_files=9, env={})
    assert spec.mounts == (Mount(place, str(place)),)
    assert spec.attached is None
    place.write_text("seen\nwritten\n")
    judge(place, f"{clock.boot_id()}\nseen\n")
    for said in ("", "00000000-0000-0000-0000-000000000000\nseen\n", "cat: not found"):
        with pytest.raises(EnvironmentFailure, match="the Docker engine is not on this machine"):
            judge(place, said)


@pytest.mark.parametrize(("said", "written"), [("other\n", "seen\nwritten\n"), ("seen\n", "seen\n")])
def test_an_engine_that_does_not_share_our_files_is_refused(tmp_path: Path, said: str, written: str) -> None:
    place = tmp_path / "look"
    place.write_text(written)
    with pytest.raises(EnvironmentFailure, match=f"cannot read and write {tmp_path} as it is here"):
        judge(place, f"{clock.boot_id()}\n{said}")


def test_a_node_sees_its_own_journal_and_helpers_see_all(tmp_path: Path) -> None:
    rundir = RunDir(tmp_path / "run")
    rundir.create()
    files = SharedFiles(rundir)
    assert files.user != (0, 0)
    mount = files.journal_of("node-1")
    assert mount == Mount(rundir.journal / "node-1.jsonl", "/journal/node-1.jsonl")
    assert (mount.source.stat().st_uid, mount.source.stat().st_gid) == files.user
    private = tmp_path / "private"
    private.mkdir()
    (private / "config").touch()
    files.add(private)
    files.add(tmp_path / "gone")
    assert {str(mount.source) for mount in files.for_helpers()} == {
        str(rundir.journal),
        str(rundir.locust),
        str(private),
    }
    assert all(str(mount.source) == mount.target for mount in files.for_helpers())
    assert ((private / "config").stat().st_uid, (private / "config").stat().st_gid) == files.user


def test_a_folder_with_a_link_on_its_way_is_seen_under_both_names(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    rundir = RunDir(tmp_path / "link" / "run")
    rundir.create()
    targets = {mount.target: str(mount.source) for mount in SharedFiles(rundir).for_helpers()}
    journal = str(tmp_path / "real" / "run" / "journal")
    assert targets[str(rundir.journal)] == targets[journal] == journal


def test_which_backend_a_run_has(tmp_path: Path) -> None:
    rundir = RunDir(tmp_path)
    assert isinstance(make_backend("process", rundir, redis_url=None), ProcessBackend)
    assert isinstance(make_backend("external", rundir, redis_url=None), ExternalBackend)
    assert isinstance(make_backend("docker", rundir, redis_url=None), DockerBackend)
    with pytest.raises(EnvironmentFailure, match="containers cannot reach it"):
        make_backend("docker", rundir, redis_url="redis://127.0.0.1:6379/0")


async def test_the_kernel_tells_of_an_end_before_the_engine_does() -> None:
    told = asyncio.get_running_loop().create_future()
    process = ContainerProcess("node-1", told)
    child = await asyncio.create_subprocess_exec("/bin/sleep", "600")
    before_ns = clock.now_ns()
    process._mind(child.pid)
    assert process.gone_ns is None
    child.kill()
    async with asyncio.timeout(20):
        while process.gone_ns is None:
            await asyncio.sleep(0.001)
    gone_ns = process.gone_ns
    assert before_ns < gone_ns <= clock.now_ns()
    told.set_result(137)
    await child.wait()
    assert process.gone_ns == gone_ns
