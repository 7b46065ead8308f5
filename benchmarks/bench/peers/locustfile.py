"""Locust as its users write it: a user per client, websockets.sync on gevent, a request event per message."""

import json
import time

from locust import User, constant, task
from websockets.sync.client import connect


class Reader(User):
    """Subscribes, and waits for messages."""

    wait_time = constant(0)

    def on_start(self) -> None:
        """Connect."""
        self.connection = connect(self.host, compression=None)
        self.connection.send(json.dumps({"type": "subscribe", "channels": ["news"]}))
        self.connection.recv()

    @task
    def receive(self) -> None:
        """One message."""
        text = self.connection.recv()
        now_ms = time.time() * 1000  # noqa: TID251 - as its users do
        message = json.loads(text)
        if "at" in message:
            self.environment.events.request.fire(
                request_type="WS",
                name="delivery",
                response_time=now_ms - message["at"],
                response_length=len(text),
                exception=None,
            )
