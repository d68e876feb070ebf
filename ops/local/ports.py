"""TCP ports: which are free, and which to choose."""

import errno
import os
import random
import socket
from argparse import ArgumentTypeError
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from postroad.urls import read_host

LOOPBACK = "127.0.0.1"
_LOWEST = 20_000
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")

_held: dict[int, int] = {}  # descriptors by port


class PortUnavailable(Exception):
    """A port cannot be listened on; the message says why and what to do."""


def port_number(text: str) -> int:
    """Read a port from a command line."""
    if text.isascii() and text.isdigit() and 1 <= int(text) <= 65_535:
        return int(text)
    raise ArgumentTypeError(f"must be a port from 1 to 65535, not {text!r}")


def free_ports(count: int) -> list[int]:
    """Choose ports that nobody has, and hold them for as long as this process lives.

    Nobody else can choose a port that is held. Whoever sets SO_REUSEADDR, as servers do, can listen
    on it.

    They lie below the range from which the system takes the local ports of outgoing connections.
    A port inside it may be lost to such a connection while its owner restarts; worse, a client
    that keeps trying to reconnect there will one day be connected to itself.
    """
    ports: list[int] = []
    for port in random.sample(range(_LOWEST, _lowest_ephemeral()), k=2_000):
        if len(ports) == count:
            return ports
        if _hold(port):
            ports.append(port)
    raise PortUnavailable(f"no {count} free TCP ports from {_LOWEST} up on {LOOPBACK}")


def _hold(port: int) -> bool:
    """Bind a port without listening on it, and tell whether nobody else had it."""
    holder = socket.socket()
    try:
        holder.bind((LOOPBACK, port))  # refused when anybody is bound there, even if held only
    except OSError:
        holder.close()
        return False
    # Linux compares this at each later bind: two that both have it, and do not listen, may share.
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    _held[port] = holder.detach()
    return True


def release(port: int) -> None:
    """Let others choose a port again."""
    os.close(_held.pop(port))


@contextmanager
def claimed(port: int, host: str = LOOPBACK) -> Iterator[None]:
    """Keep other systems from a port that a person chose, from before we listen on it.

    Its holder may be the program that started us, so what tells systems apart is a name that the
    kernel gives to one process at a time (unix(7), abstract sockets).

    Raises:
        PortUnavailable: another system has it, or ``check`` refuses it.
    """
    with socket.socket(socket.AF_UNIX) as claim:
        try:
            claim.bind(f"\0postroad {host} {port}")
        except OSError as error:
            raise PortUnavailable(_explain(error, port, host)) from error
        check(port, host)
        yield


def bound_sockets(port: int, host: str = LOOPBACK) -> list[socket.socket]:
    """Bind a port on all addresses of a host, for processes that inherit it and listen on it.

    Raises:
        PortUnavailable: another program has it, or the host has no address here.
    """
    sockets = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(
            socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        ):
            each = socket.socket(family, kind, protocol)
            sockets.append(each)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                each.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            each.bind(address)
    except OSError as error:
        for each in sockets:
            each.close()
        raise PortUnavailable(_explain(error, port, host)) from error
    return sockets


def is_listening(port: int) -> bool:
    """Return whether a server listens on a port, without binding it."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((LOOPBACK, port)) == 0


def check(port: int, host: str = LOOPBACK) -> None:
    """Make sure that a server can listen there.

    Raises:
        PortUnavailable: it is taken, needs more rights, or is no address of this machine.
    """
    try:
        read_host(host)
    except ValueError as error:
        raise PortUnavailable(f"cannot listen on {host!r}: it {error}") from error
    try:
        family, kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
            probe.bind(address)
            probe.listen()  # of two binds with SO_REUSEADDR only the second listen is refused
    except OSError as error:
        raise PortUnavailable(_explain(error, port, host)) from error


def _explain(error: OSError, port: int, host: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is taken by another program; choose another"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"port {port} needs more rights than yours; choose one from 1024 up"
    return f"cannot listen on {host} port {port}: {error.strerror}"


def _lowest_ephemeral() -> int:
    try:
        lowest = int(_EPHEMERAL.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        lowest = 32_768  # Linux's default
    return max(lowest, _LOWEST + 4_000)
