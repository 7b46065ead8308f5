"""The reference node's page in a real Chromium: a person subscribes and watches."""

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis

from conftest import PageWatch, free_port
from support.node_process import NodeProcess, wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.system, pytest.mark.browser]

HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>"


@pytest.fixture
def node(redis_server: str, tmp_path: Path) -> Iterator[NodeProcess]:
    process = NodeProcess(free_port(), redis_server, tmp_path)
    try:
        yield process.start()
    finally:
        process.kill()


@pytest.fixture
def client(redis_server: str) -> Iterator[redis.Redis]:
    with closing(redis.Redis.from_url(redis_server)) as connection:
        yield connection


def subscribe(page: "Page", names: str) -> None:
    page.get_by_label("Channels, with spaces between").fill(names)
    page.get_by_role("button", name="Subscribe").click()
    for name in names.split():
        page.get_by_text(f"subscribed to {name}", exact=True).wait_for()


def shown(page: "Page") -> list[str]:
    return page.locator("#log li:not([class]) span").all_inner_texts()


def test_a_person_can_watch_channels(
    node: NodeProcess, client: redis.Redis, chromium_page: "Page", page_watch: PageWatch
) -> None:
    page = chromium_page
    page.goto(f"http://127.0.0.1:{node.port}/")
    subscribe(page, "news jobs")
    assert client.publish("news", "héllo <b>you</b>") == 1
    client.publish("jobs", HOSTILE)
    client.publish("jobs", b"\xff\x00\x10")
    page.get_by_text("3 messages").wait_for()
    assert shown(page) == ["héllo <b>you</b>", HOSTILE, "3 bytes: ff 00 10"]
    assert page.locator("#log img, #log script, #log b").count() == 0

    page.get_by_role("button", name="Leave jobs").click()
    page.get_by_text("left jobs").wait_for()
    wait_until(lambda: client.pubsub_channels("[nj]*") == [b"news"], "jobs left")
    client.publish("news", "one more")
    page.get_by_text("4 messages").wait_for()

    assert page_watch.errors == []
    origin = re.compile(rf"(http|ws)://127\.0\.0\.1:{node.port}/|data:,")
    assert len(page_watch.requests) >= 2
    assert [url for url in page_watch.requests if not origin.match(url)] == []


def test_the_page_comes_back_by_itself(node: NodeProcess, client: redis.Redis, chromium_page: "Page") -> None:
    page = chromium_page
    page.goto(f"http://127.0.0.1:{node.port}/")
    subscribe(page, "news")
    node.kill()
    page.get_by_text("connection closed, code 1006").wait_for()
    node.start()
    page.get_by_text("subscribed to news").nth(1).wait_for()
    client.publish("news", "back")
    page.get_by_text("1 message", exact=True).wait_for()
    assert shown(page) == ["back"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_reads_well(
    node: NodeProcess, client: redis.Redis, chromium_page: "Page", scheme: str, width: int
) -> None:
    page = chromium_page
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.goto(f"http://127.0.0.1:{node.port}/")
    subscribe(page, "news")
    client.publish("news", "x" * 3000)
    page.get_by_text("1 message", exact=True).wait_for()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")  # nothing runs off the side
    ink, ground = (page.evaluate(f"getComputedStyle(document.body).{name}") for name in ("color", "backgroundColor"))
    light, dark = (sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in (ground, ink))
    assert (light > dark) is (scheme == "light")


def test_the_policy_allows_nothing_but_the_pages_own_code(node: NodeProcess, chromium_page: "Page") -> None:
    answer = node.get("/")
    policy = answer.headers["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    page = chromium_page
    page.goto(f"http://127.0.0.1:{node.port}/")
    with page.expect_console_message(lambda message: "Content Security Policy" in message.text):
        page.evaluate(
            "document.body.append(Object.assign(document.createElement('script'), {text: 'window.evil = 1'}))"
        )
    assert page.evaluate("window.evil") is None
