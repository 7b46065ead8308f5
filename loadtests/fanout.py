"""Fan-out load for plain Locust, against nodes and a Redis that already run.

    fanlab up scenarios/quickstart.yaml
    locust -f loadtests/fanout.py --headless -u 20 -r 20 -t 10s

Users beyond the publishers are WebSocket clients, spread over the nodes. In Locust's statistics `WS deliver <channel>`
is one delivery to one client, timed from when its message was meant to be sent, and `PUBLISH <channel>` one publish.
What is loaded comes from the environment; whatever is not set there, from what `fanlab up` left running:

    FANLAB_NODES        WebSocket addresses, comma-separated
    FANLAB_REDIS_URL    where to publish
    FANLAB_CHANNELS     comma-separated; default: news
    FANLAB_RATE         of each publisher; default: 50/s
    FANLAB_PAYLOAD      size of a message; default: 128B
    FANLAB_PUBLISHERS   per channel; default: 1, and 0 to listen only

This counts and times; it accounts for nothing. Which message reached whom, and why not, is what `fanlab run` tells.
"""

import os

from fanlab import manual
from fanlab.errors import EnvironmentFailure
from fanlab.load.plain import Target, user_classes
from fanlab.scenario.model import ConstantRate
from fanlab.units import parse_size_bytes


def target() -> Target:
    """What the environment, or else `fanlab up`, says."""
    urls, redis_url = os.environ.get("FANLAB_NODES", ""), os.environ.get("FANLAB_REDIS_URL", "")
    state = None if urls and redis_url else manual.read_state()
    if state is not None:
        urls = urls or ",".join(node.ws_url for node in state.nodes)
        redis_url = redis_url or state.redis_url
    if not urls or not redis_url:
        raise EnvironmentFailure(
            "there is no system to load", hint="run `fanlab up FILE`, or set FANLAB_NODES and FANLAB_REDIS_URL"
        )
    return Target(
        urls=tuple(url.strip() for url in urls.split(",")),
        redis_url=redis_url,
        channels=tuple(name.strip() for name in os.environ.get("FANLAB_CHANNELS", "news").split(",")),
        publishers=int(os.environ.get("FANLAB_PUBLISHERS", "1")),
        rate=ConstantRate(rate=os.environ.get("FANLAB_RATE", "50/s")),
        payload_bytes=parse_size_bytes(os.environ.get("FANLAB_PAYLOAD", "128B")),
    )


# Locust takes every user class that it finds among the module's names.
globals().update({cls.__name__: cls for cls in user_classes(target())})
