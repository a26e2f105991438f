"""Which interface leads where, as the kernel says, and what a hold on a port does."""

from __future__ import annotations

import os
import socket

import pytest

from zenkei.agent import network


@pytest.fixture
def port() -> int:
    with socket.socket() as sock:
        sock.bind(("", 0))
        return int(sock.getsockname()[1])


def test_nodes_that_are_all_this_machine_meet_over_the_loopback():
    assert network.interface_to(["127.0.0.1", "127.0.1.2", "::1"]) == "lo"


def test_what_is_no_address_and_what_cannot_be_reached_give_no_interface():
    assert network.route_to("node-1.example") is None
    assert network.interface_to(["127.0.0.1", "nonsense"]) == ""


def test_a_held_port_is_refused_to_others(port):
    with network.hold(port):
        found = network.look("127.0.0.1", ["127.0.0.1"], port)
        assert found.held is None
        assert found.taken_by
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))


@pytest.mark.parametrize("address", ["127.0.0.1", ""])
def test_a_listener_that_may_reuse_the_address_takes_the_port_beside_the_hold(port, address):
    with (
        network.hold(port),
        socket.create_server((address, port)) as server,
        socket.create_connection(("127.0.0.1", port)),
    ):
        server.accept()[0].close()


def test_who_listens_at_a_port_is_named(port):
    with socket.create_server(("127.0.0.1", port)):
        found = network.look("127.0.0.1", [], port)
    assert found.taken_by.startswith(f"process {os.getpid()} (")


def test_a_hold_ends_when_it_is_closed(port):
    network.hold(port).close()
    network.hold(port).close()
