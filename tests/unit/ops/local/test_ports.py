"""Ports: what was chosen stays the chooser's, whoever else chooses meanwhile."""

import socket
import subprocess
import sys
from contextlib import ExitStack

import pytest

from ops.local.ports import LOOPBACK, PortUnavailable, claimed, free_ports, is_listening, release

CHOOSERS, EACH = 4, 200  # of 4,000 ports: without holding them, some 60 would be chosen twice
CHOOSER = f"""
import sys
from ops.local import ports

ports._lowest_ephemeral = lambda: ports._LOWEST + 4_000
print(*ports.free_ports({EACH}), flush=True)
sys.stdin.read()
"""


def test_programs_that_choose_at_once_never_choose_the_same() -> None:
    chosen: list[str] = []
    with ExitStack() as running:
        programs = [
            running.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", CHOOSER],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(CHOOSERS)
        ]
        for program in programs:
            assert program.stdout
            chosen += program.stdout.readline().split()

    assert len(chosen) == CHOOSERS * EACH
    assert len(set(chosen)) == len(chosen)


def test_a_server_listens_on_a_chosen_port_again_and_again() -> None:
    (port,) = free_ports(1)

    for _ in range(2):
        with socket.create_server((LOOPBACK, port)):
            assert is_listening(port)
        assert not is_listening(port)


def test_who_does_not_share_a_port_is_refused_one_that_was_chosen() -> None:
    (port,) = free_ports(1)

    with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
        stranger.bind((LOOPBACK, port))


def test_a_port_that_was_released_is_anybodys() -> None:
    (port,) = free_ports(1)

    release(port)

    with socket.socket() as stranger:
        stranger.bind((LOOPBACK, port))


def test_of_two_systems_on_one_port_the_second_is_refused_at_once() -> None:
    (port,) = free_ports(1)  # held by who starts them, as a test does

    with claimed(port):
        with pytest.raises(PortUnavailable, match=f"port {port} .* is taken"), claimed(port):
            pass
        with socket.create_server((LOOPBACK, port)):
            pass
    with claimed(port):
        pass
