"""Where a client connects from."""

import pytest

from fanlab.load.sources import CLIENTS_PER_SOURCE, source_of


@pytest.mark.skipif("sys.platform != 'linux'", reason="loopback is one address")
@pytest.mark.parametrize(
    ("url", "client", "source"),
    [
        ("ws://127.0.0.1:8001/ws", 0, None),
        ("ws://127.0.0.1:8001/ws", CLIENTS_PER_SOURCE - 1, None),
        ("ws://127.0.0.1:8001/ws", CLIENTS_PER_SOURCE, "127.0.0.2"),
        ("ws://127.0.0.1:8001/ws", 3 * CLIENTS_PER_SOURCE - 1, "127.0.0.3"),
        ("ws://127.0.0.1:8001/ws", 300 * CLIENTS_PER_SOURCE, "127.0.1.45"),
        ("ws://[::1]:8001/ws", CLIENTS_PER_SOURCE, None),
        ("ws://localhost:8001/ws", CLIENTS_PER_SOURCE, None),
        ("ws://10.0.0.7:8001/ws", CLIENTS_PER_SOURCE, None),
    ],
)
def test_each_twenty_thousand_clients_have_a_loopback_address_of_their_own(
    url: str, client: int, source: str | None
) -> None:
    assert source_of(url, client) == source


def test_elsewhere_loopback_is_one_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    assert source_of("ws://127.0.0.1:8001/ws", CLIENTS_PER_SOURCE) is None
