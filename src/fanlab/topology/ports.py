"""Ports on 127.0.0.1, or another address of this machine, chosen by the system and kept for the run's life.

A reservation is a TCP socket that is bound, with SO_REUSEADDR, but never listens. On Linux the kernel then gives its
port to nobody who asks for any port (bind to 0, or connect), while a server that names the port and sets SO_REUSEADDR,
as nearly all do, can bind and listen on it, again and again. See inet_csk_bind_conflict and __inet_hash_connect.
"""

import socket
import sys
from dataclasses import dataclass

from fanlab.errors import EnvironmentFailure

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Reservation:
    """A port, ours until `close`. Where the kernel is not Linux the port was free, but nothing holds it."""

    port: int
    _socket: socket.socket | None
    host: str = HOST  # the address that it is reserved on

    def close(self) -> None:
        """Give the port up. Safe to call twice."""
        if self._socket is not None:
            self._socket.close()


def reserve(host: str = HOST) -> Reservation:
    """Reserve a port. Raises EnvironmentFailure if the system has none left, no socket, or no such address."""
    holder = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind((host, 0))
    except OSError as error:
        holder.close()
        raise EnvironmentFailure(
            f"no TCP port on {host} can be had: {error.strerror}",
            hint="many connections in TIME_WAIT go away within a minute; see `ss -s`",
        ) from error
    port = int(holder.getsockname()[1])
    if sys.platform != "linux":  # there a bound socket keeps servers out as well
        holder.close()
        return Reservation(port, None, host)
    return Reservation(port, holder, host)
