"""The stream that every peer gets: `stream.py REDIS_PORT RATE SECONDS [socketio]`. Publishes on schedule, then an end.

A message is 128 bytes of JSON: fanlab's token, with the intended time on the monotonic clock, for those who can read
it, and the same time as whole ms of the epoch (`at`), as Date.now() tells it, for those whose language has no other
clock: cut off at both ends, a difference is right on average. Prints, as JSON, when the first message was due and how
many there were. For Socket.IO it is wrapped as its own emitter does.
"""

import json
import socket
import sys
import time

from fanlab.ledger.records import Token, encode_token

RUN_TAG = 1
PAYLOAD_BYTES = 128
LEAD_NS = 200_000_000


def main() -> None:
    """Publish all of it."""
    port, rate, seconds = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
    publish = publish_to_room if sys.argv[4:] == ["socketio"] else publish_to_channel
    count = round(rate * seconds)
    with socket.create_connection(("127.0.0.1", port)) as redis:
        redis.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        epoch_less_ns = time.time_ns() - time.monotonic_ns()  # noqa: TID251 - for peers that have no other clock
        start_ns = time.monotonic_ns() + LEAD_NS
        for number in range(count):
            due_ns = start_ns + round(number * 1e9 / rate)
            wait_ns = due_ns - time.monotonic_ns()
            if wait_ns > 0:
                time.sleep(wait_ns / 1e9)
            token = encode_token(Token(RUN_TAG, 0, number + 1, due_ns, 0)).decode()
            publish(redis, padded({"token": token, "at": (due_ns + epoch_less_ns) // 1_000_000}))
        time.sleep(1.0)
        print(json.dumps({"start_ns": start_ns, "count": count}), flush=True)
        sys.stdin.readline()
        publish(redis, json.dumps({"end": True}).encode())


def padded(message: dict[str, object]) -> bytes:
    """As JSON of the right length."""
    bare = len(json.dumps({**message, "pad": ""}))
    return json.dumps({**message, "pad": "x" * max(0, PAYLOAD_BYTES - bare)}).encode()


def publish_to_channel(redis: socket.socket, payload: bytes) -> None:
    """As nodes of the contract get it."""
    _publish(redis, b"news", payload)


def publish_to_room(redis: socket.socket, payload: bytes) -> None:
    """As @socket.io/redis-emitter sends it: [who, packet, options] in MessagePack, to the room's channel."""
    import msgpack

    packet = {"type": 2, "data": ["message", payload.decode()], "nsp": "/"}
    _publish(
        redis, b"socket.io#/#news#", msgpack.packb(["emitter", packet, {"rooms": ["news"], "except": [], "flags": {}}])
    )


def _publish(redis: socket.socket, channel: bytes, payload: bytes) -> None:
    """One PUBLISH, and its answer."""
    head = b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%b\r\n$%d\r\n" % (len(channel), channel, len(payload))
    redis.sendall(head + payload + b"\r\n")
    answer = b""
    while not answer.endswith(b"\r\n"):
        answer += redis.recv(64)


if __name__ == "__main__":
    main()
