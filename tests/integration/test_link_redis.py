"""A subscriber to a real Redis through the link: what each fault does to PUBLISH and SUBSCRIBE."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import redis

from conftest import RealRedis
from support.link_process import DEADLINE_S, LinkProcess, dial, ends, nothing_came, receive, running_link

pytestmark = pytest.mark.system

PROXY = "node-1-redis"
CHANNEL = "news"
MESSAGE_BYTES = len("*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$6\r\n000000\r\n")


class Subscriber:
    """On a bare socket, so that nothing reconnects behind our back. Messages are numbered."""

    def __init__(self, listen: str) -> None:
        self.socket = dial(listen)
        self.socket.sendall(b"SUBSCRIBE %s\r\n" % CHANNEL.encode())

    def confirmed(self) -> None:
        expected = b"*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n"
        assert receive(self.socket, len(expected)) == expected

    def expect(self, numbers: range, pad: int = 0) -> None:
        """Exactly these messages, in this order."""
        for number in numbers:
            expected = b"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n" + _bulk(_text(number, pad))
            assert receive(self.socket, len(expected)) == expected, number

    def port(self) -> int:
        return int(self.socket.getsockname()[1])


def _text(number: int, pad: int) -> bytes:
    return b"%06d" % number + b"." * pad


def _bulk(data: bytes) -> bytes:
    return b"$%d\r\n%s\r\n" % (len(data), data)


class System:
    """A subscriber behind a link, a link, and a publisher who goes straight to Redis."""

    def __init__(self, link: LinkProcess, listen: str, direct: "redis.Redis[bytes]") -> None:
        self.link = link
        self.listen = listen
        self.direct = direct
        self.published = 0

    def publish(self, count: int, pad: int = 0) -> set[int]:
        """Publish the next `count` messages; returns how many receivers Redis counted."""
        counts = set()
        for _ in range(count):
            counts.add(int(self.direct.publish(CHANNEL, _text(self.published, pad))))
            self.published += 1
        return counts

    def listed(self) -> set[str]:
        """Addresses of subscribers, as Redis has them."""
        return {client["addr"] for client in self.direct.client_list(_type="pubsub")}

    async def until(self, condition: Callable[[], object], what: str) -> None:
        try:
            async with asyncio.timeout(DEADLINE_S):
                while not condition():
                    await asyncio.sleep(0.005)
        except TimeoutError:
            raise AssertionError(f"still not: {what}") from None

    @contextlib.contextmanager
    def subscriber(self) -> Iterator[Subscriber]:
        subscriber = Subscriber(self.listen)
        with subscriber.socket:
            subscriber.confirmed()
            yield subscriber


@pytest.fixture
async def system(real_redis: RealRedis, tmp_path: Path) -> AsyncIterator[System]:
    async with running_link(tmp_path / "link") as link:
        listen = await link.client.proxy(PROXY, f"127.0.0.1:{real_redis.port}")
        with contextlib.closing(redis.Redis(port=real_redis.port)) as direct:
            yield System(link, listen, direct)


async def test_redis_addresses_lead_to_who_is_behind_the_link(system: System) -> None:
    with system.subscriber() as one, system.subscriber() as two:
        rows = {row["up"]: row["down"] for row in await system.link.until_event("open", 2)}
        assert {rows[address] for address in system.listed()} == {
            f"127.0.0.1:{one.port()}",
            f"127.0.0.1:{two.port()}",
        }


async def test_hold_is_latency_and_no_loss(system: System) -> None:
    with system.subscriber() as subscriber:
        assert system.publish(10) == {1}
        subscriber.expect(range(10))
        await system.link.client.add(PROXY, "cut", "hold", stream="both")
        assert system.publish(300) == {1}  # Redis believes that it is heard
        await system.link.until(PROXY, lambda now: now.down.held == 300 * MESSAGE_BYTES, "they are held")
        assert nothing_came(subscriber.socket)
        await system.link.client.remove(PROXY, "cut")
        system.publish(10)
        subscriber.expect(range(10, 320))


async def test_who_subscribes_during_a_hold_is_late_and_has_missed_the_rest(system: System) -> None:
    await system.link.client.add(PROXY, "cut", "hold", stream="both")
    late = Subscriber(system.listen)
    with late.socket:
        await system.link.until(PROXY, lambda now: now.waiting == 1, "it waits")
        assert system.publish(5) == {0}
        assert nothing_came(late.socket)
        await system.link.client.remove(PROXY, "cut")
        late.confirmed()
        assert system.publish(5) == {1}
        late.expect(range(5, 10))


async def test_drop_is_loss_and_then_a_reset(system: System) -> None:
    with system.subscriber() as subscriber:
        system.publish(10)
        subscriber.expect(range(10))
        await system.link.client.add(PROXY, "cut", "drop", stream="both")
        assert system.publish(50) == {1}
        await system.link.until(PROXY, lambda now: now.down.discarded == 50 * MESSAGE_BYTES, "they are discarded")
        assert nothing_came(subscriber.socket)
        assert len(system.listed()) == 1
        await system.link.client.remove(PROXY, "cut")
        assert ends(subscriber.socket) == "RST"
        await system.until(lambda: not system.listed(), "Redis has noticed")
    with system.subscriber() as again:
        assert system.publish(1) == {1}
        again.expect(range(60, 61))
    (closed,) = (row for row in await system.link.until_event("close") if row["why"] == "cut")
    assert closed["discarded"][1] == 50 * MESSAGE_BYTES


async def test_half_open_is_a_subscriber_that_redis_has_forgotten(system: System) -> None:
    with system.subscriber() as subscriber:
        await system.link.client.add(PROXY, "vanish", "half_open", stream="upstream")
        await system.until(lambda: system.publish(1) == {0}, "Redis has nobody")
        subscriber.socket.sendall(b"PING\r\n")
        with system.subscriber() as other:
            assert system.publish(1) == {1}
            other.expect(range(system.published - 1, system.published))
        assert nothing_came(subscriber.socket)
        await system.link.client.remove(PROXY, "vanish")
        assert ends(subscriber.socket) == "RST"


async def test_half_open_downstream_is_a_subscriber_that_redis_still_counts(system: System) -> None:
    with system.subscriber() as subscriber:
        await system.link.client.add(PROXY, "vanish", "half_open", stream="downstream")
        assert ends(subscriber.socket) == "FIN"
        assert system.publish(100) == {1}
        await system.link.until(PROXY, lambda now: now.down.held == 100 * MESSAGE_BYTES, "they go nowhere")
        await system.link.client.remove(PROXY, "vanish")
        await system.until(lambda: system.publish(1) == {0}, "Redis has nobody")


async def test_reset_ends_the_subscription_on_both_sides(system: System) -> None:
    with system.subscriber() as subscriber:
        assert await system.link.client.reset(PROXY) == 1
        assert ends(subscriber.socket) == "RST"
        await system.until(lambda: system.publish(1) == {0}, "Redis has nobody")


async def test_bandwidth_fills_redis_buffer_while_the_subscriber_reads_all_it_gets(system: System) -> None:
    await system.link.client.add(PROXY, "narrow", "bandwidth", attributes={"rate_bytes_per_s": 100_000})
    with system.subscriber() as subscriber:

        def waits_in_redis() -> bool:
            system.publish(20, pad=10_000)
            (listed,) = system.direct.client_list(_type="pubsub")
            return int(listed["omem"]) > 1_000_000

        reading = asyncio.create_task(asyncio.to_thread(subscriber.expect, range(100), 10_000))
        await system.until(waits_in_redis, "more than the kernel's buffers hold")
        await system.link.client.remove(PROXY, "narrow")
        await reading
        subscriber.expect(range(100, system.published), 10_000)


async def test_slices_are_put_together_again(system: System) -> None:
    slices = {"average_size_bytes": 9, "size_variation_bytes": 8, "delay_us": 20}
    await system.link.client.add(PROXY, "sliced", "slicer", stream="both", attributes=slices)
    with system.subscriber() as subscriber:
        system.publish(200, pad=20)
        subscriber.expect(range(200), pad=20)


async def test_a_slow_subscriber_is_cut_off_by_redis_through_the_link_as_without(system: System) -> None:
    system.direct.config_set("client-output-buffer-limit", "pubsub 1mb 0 0")
    with system.subscriber() as subscriber:
        await system.until(lambda: 0 in system.publish(1, pad=100_000), "Redis has cut it off")
        kernel_bytes = int(Path("/proc/sys/net/ipv4/tcp_wmem").read_text().split()[2])
        assert system.published * 100_000 < 1_000_000 + kernel_bytes + 2_000_000  # the link, and two more sockets
        with contextlib.suppress(ConnectionResetError):
            while subscriber.socket.recv(65_536):
                pass
    await system.link.until(PROXY, lambda now: now.open == 0, "it is closed")
