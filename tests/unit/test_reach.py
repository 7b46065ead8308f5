"""Which addresses may be loaded: loopback in all its forms, what is listed, and nothing that a name hides."""

import asyncio
import ipaddress
import socket
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fanlab.errors import EnvironmentFailure
from fanlab.topology.reach import Place, Reach, bare, is_ipv4, is_loopback, is_ours

WS = ("ws", "wss")
LOOPBACK = st.one_of(
    st.integers(0x7F000000, 0x7FFFFFFF).map(lambda n: str(ipaddress.IPv4Address(n))),
    st.just("::1"),
    st.integers(0x7F000000, 0x7FFFFFFF).map(lambda n: f"::ffff:{ipaddress.IPv4Address(n)}"),
)
OTHERS = st.one_of(
    st.ip_addresses(v=4).filter(lambda a: not a.is_loopback).map(str),
    st.ip_addresses(v=6).filter(lambda a: not a.is_loopback and a.ipv4_mapped is None).map(str),
    st.ip_addresses(v=4).filter(lambda a: not a.is_loopback).map(lambda a: f"::ffff:{a}"),
)
MACHINES = OTHERS.filter(lambda a: not bare(a).is_unspecified and not bare(a).is_multicast)


class Names:
    """A resolver of the test's own, which counts how often each name was asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch | None = None, **hosts: tuple[str, ...]) -> None:
        self.hosts = hosts
        self.asked: list[str] = []
        self.monkeypatch = monkeypatch

    async def __call__(self, host: str, *_: Any, **__: Any) -> list[tuple[Any, ...]]:
        self.asked.append(host)
        addresses = self.hosts.get(host, (host,))
        return [
            (socket.AF_INET6, 1, 6, "", (a, 0, 0, 0)) if ":" in a else (socket.AF_INET, 1, 6, "", (a, 0))
            for a in addresses
        ]


def resolved(url: str, reach: Reach, names: Names | None = None, option: str = "--node node-1") -> Place:
    """`reach.place` in a loop of its own, whose resolver may be `names`."""

    async def ask() -> Place:
        if names is not None:
            asyncio.get_running_loop().getaddrinfo = names  # type: ignore[method-assign,assignment]
        return await reach.place(url, option, WS, 80)

    return asyncio.run(ask())


def literal(address: str) -> str:
    return f"[{address}]" if ":" in address else address


@given(LOOPBACK)
def test_every_form_of_loopback_is_this_machine(address: str) -> None:
    place = resolved(f"ws://{literal(address)}:8000/ws", Reach())
    assert is_loopback(address)
    assert not place.elsewhere
    assert place.pinned(place.addresses[0]) == place.url


@given(OTHERS)
@example("0.0.0.0")
@example("::")
@example("::ffff:192.0.2.1")
@example("64:ff9b::7f00:1")  # loopback's, translated: by a machine that does so
@example("2002:7f00:1::")
@example("fe80::1")
def test_any_other_address_is_another_machine(address: str) -> None:
    with pytest.raises(EnvironmentFailure, match="another machine") as caught:
        resolved(f"ws://{literal(address)}:8000/ws", Reach(), Names())
    assert f"--allow-remote {address}" in str(caught.value)


@given(MACHINES)
def test_what_is_listed_may_be_loaded_and_is_still_another_machine(address: str) -> None:
    assert resolved(f"ws://{literal(address)}/ws", Reach([address]), Names()).elsewhere
    assert resolved(f"ws://{literal(address)}/ws", Reach([literal(address)]), Names()).elsewhere


@given(MACHINES, MACHINES)
def test_what_is_listed_allows_nothing_else(listed: str, wanted: str) -> None:
    if bare(listed) == bare(wanted):
        return
    with pytest.raises(EnvironmentFailure, match="another machine"):
        resolved(f"ws://{literal(wanted)}/ws", Reach([listed]), Names())


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "127.1", "017700000001", "0x7f000001", "127.0.1"])
def test_odd_spellings_of_an_address_are_judged_by_the_address_that_they_lead_to(host: str) -> None:
    place = resolved(f"ws://{host}:8000/ws", Reach())
    assert not place.elsewhere
    assert ipaddress.ip_address(place.addresses[0]).is_loopback
    assert place.pinned(place.addresses[0]) == f"ws://{place.addresses[0]}:8000/ws"


@pytest.mark.parametrize("host", ["3221225985", "0xc0.0.2.1", "0300.0.2.1", "192.513", "0"])
def test_odd_spellings_hide_no_other_machine(host: str) -> None:
    with pytest.raises(EnvironmentFailure, match="another machine"):
        resolved(f"ws://{host}:8000/ws", Reach())


def test_every_address_of_a_name_must_be_allowed() -> None:
    assert not resolved("ws://both:1/ws", Reach(), Names(both=("127.0.0.1", "::1"))).elsewhere
    mixed = Names(mixed=("127.0.0.1", "192.0.2.7"))
    with pytest.raises(EnvironmentFailure, match=r"--node node-1: mixed is 192\.0\.2\.7"):
        resolved("ws://mixed:1/ws", Reach(), mixed)
    place = resolved("ws://mixed:1/ws", Reach(["192.0.2.7"]), mixed)
    assert place.elsewhere
    assert place.addresses == ("127.0.0.1", "192.0.2.7")


def test_a_name_that_is_listed_allows_the_addresses_that_it_stands_for_and_no_other_name_of_its_kind() -> None:
    names = Names(shop=("192.0.2.7", "2001:db8::7"), other=("192.0.2.8",))
    assert resolved("ws://shop/ws", Reach(["shop"]), names).elsewhere
    assert resolved("ws://192.0.2.7/ws", Reach(["shop"]), names).elsewhere
    with pytest.raises(EnvironmentFailure, match=r"other is 192\.0\.2\.8"):
        resolved("ws://other/ws", Reach(["shop"]), names)


def test_a_name_is_looked_up_once_so_that_it_cannot_lead_elsewhere_later() -> None:
    async def twice() -> tuple[Place, Place]:
        names = Names(rebound=("127.0.0.1",))
        asyncio.get_running_loop().getaddrinfo = names  # type: ignore[method-assign,assignment]
        reach = Reach()
        first = await reach.place("ws://rebound:1/ws", "--node node-1", WS, 80)
        names.hosts["rebound"] = ("192.0.2.7",)
        second = await reach.place("ws://rebound:2/ws", "--node node-2", WS, 80)
        assert names.asked == ["rebound"]
        return first, second

    first, second = asyncio.run(twice())
    assert first.addresses == second.addresses == ("127.0.0.1",)


@pytest.mark.parametrize(
    ("url", "address", "pinned", "netloc"),
    [
        ("ws://shop:81/ws?x=1", "192.0.2.7", "ws://192.0.2.7:81/ws?x=1", "shop:81"),
        ("wss://shop/ws", "2001:db8::7", "wss://[2001:db8::7]/ws", "shop"),
        ("redis://u:p@Shop:1/2", "127.0.0.1", "redis://u:p@127.0.0.1:1/2", "Shop:1"),
        ("ws://127.0.0.1/ws", "127.0.0.1", "ws://127.0.0.1/ws", "127.0.0.1"),
        ("ws://[::1]:5/ws", "::1", "ws://[::1]:5/ws", "[::1]:5"),
    ],
)
def test_a_pinned_url_keeps_all_but_the_name(url: str, address: str, pinned: str, netloc: str) -> None:
    place = Place(url, "shop", int(url.rpartition(":")[2].partition("/")[0]) if url.count(":") > 1 else 80, (address,))
    assert place.pinned(address) == pinned
    assert place.netloc == netloc


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/", "127.0.0.1:80", "ws://", "ws://h:port/", "ws://[::1/", "unix:///x", "", "ws://:80/"]
)
def test_what_is_no_url_of_the_kind_is_refused(url: str) -> None:
    with pytest.raises(EnvironmentFailure, match="is no") as caught:
        resolved(url, Reach())
    assert "ws://host:port" in str(caught.value)


def test_a_secret_in_what_is_no_url_is_not_quoted() -> None:
    with pytest.raises(EnvironmentFailure) as caught:
        resolved("http://me:secret@h/?t=secret", Reach())
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("host", ["", "h:80", "ws://h", "h/x", "u@h", "*", "10.0.0.0/8"])
def test_what_is_listed_must_be_a_host_and_nothing_more(host: str) -> None:
    with pytest.raises(EnvironmentFailure, match=r"--allow-remote .*is no host"):
        resolved("ws://127.0.0.1/", Reach([host]))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "224.0.0.1", "ff02::1"])
def test_what_is_no_machines_address_cannot_be_listed(host: str) -> None:
    with pytest.raises(EnvironmentFailure, match="no machine's address"):
        resolved("ws://127.0.0.1/", Reach([host]))


def test_a_host_that_nobody_knows() -> None:
    class Unknown(Names):
        async def __call__(self, *_: Any, **__: Any) -> list[tuple[Any, ...]]:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with pytest.raises(EnvironmentFailure, match="--node node-1: nowhere does not resolve: Name or service"):
        resolved("ws://nowhere/", Reach(), Unknown())


def test_a_resolver_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent(Names):
        async def __call__(self, host: str, *_: Any, **__: Any) -> list[tuple[Any, ...]]:
            await asyncio.Event().wait()
            raise AssertionError(host)

    monkeypatch.setattr("fanlab.topology.reach.LOOKUP_S", 0.01)
    with pytest.raises(EnvironmentFailure, match="could not be looked up within"):
        resolved("ws://slow/", Reach(), Silent())


def test_addresses_of_ipv4() -> None:
    assert is_ipv4("10.0.0.5")
    for text in ("0.0.0.0", "224.0.0.1", "::1", "10.0.0", "h", "", "10.0.0.5:80"):
        assert not is_ipv4(text)


def test_whose_an_address_is() -> None:
    assert is_ours("127.0.0.1")
    assert is_ours("127.7.7.7")
    assert not is_ours("192.0.2.1")
    assert not is_ours("0.0.0.0")
    assert not is_ours("::")
