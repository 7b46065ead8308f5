"""A reserved port is nobody else's, and still a server's that names it."""

import errno
import socket
import struct
import sys

import pytest

from fanlab.errors import EnvironmentFailure
from fanlab.topology.ports import HOST, reserve

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a bound socket hold a port for a server")


def serve(port: int) -> socket.socket:
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((HOST, port))
    server.listen()
    return server


def test_a_server_listens_on_it_again_and_again_with_a_connection_left_in_time_wait():
    reservation = reserve()
    for _ in range(3):
        with serve(reservation.port) as server, socket.create_connection((HOST, reservation.port)):
            server.accept()[0].close()  # the server closes first, so the port has a connection in TIME_WAIT
    reservation.close()
    reservation.close()


def test_reservations_differ():
    held = [reserve() for _ in range(50)]
    assert len({reservation.port for reservation in held}) == 50
    for reservation in held:
        reservation.close()


@linux
def test_nobody_is_listening_until_a_server_does():
    reservation = reserve()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, reservation.port))
    reservation.close()


@linux
def test_outgoing_connections_and_other_servers_are_given_other_ports():
    """Narrow the choice to a few hundred connections per destination: the kernel hands out every other port."""
    held = {reservation.port: reservation for reservation in (reserve() for _ in range(20))}
    connections: list[socket.socket] = []
    try:
        with serve(0) as server:
            target = server.getsockname()
            for _ in range(1500):
                connection = socket.create_connection(target)
                connections += [connection, server.accept()[0]]
                assert connection.getsockname()[1] not in held
            for _ in range(200):
                with serve(0) as other:
                    assert other.getsockname()[1] not in held
    finally:
        for connection in (*connections, *held.values()):
            connection.close()


@linux
def test_the_kernel_refuses_a_reserved_port_to_a_connect_that_would_take_it():
    """The rule behind the test above, without luck: a socket that may choose this port only."""
    reservation = reserve()
    with serve(0) as server, socket.socket() as client:
        option = getattr(socket, "IP_LOCAL_PORT_RANGE", 51)  # Linux 6.3; named in Python 3.13
        only = struct.pack("=I", reservation.port | reservation.port << 16)
        try:
            client.setsockopt(socket.IPPROTO_IP, option, only)
        except OSError as error:
            pytest.skip(f"this kernel cannot narrow the port range of a socket: {error}")
        assert client.connect_ex(server.getsockname()) == errno.EADDRNOTAVAIL
        reservation.close()
        with socket.socket() as free:
            free.setsockopt(socket.IPPROTO_IP, option, only)
            free.connect(server.getsockname())  # given up, it is anyone's
            assert free.getsockname()[1] == reservation.port


def test_no_port_left_says_so(monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(errno.EADDRINUSE, "Address already in use")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(EnvironmentFailure, match=r"no TCP port on 127\.0\.0\.1 can be had: Address already in use"):
        reserve()
