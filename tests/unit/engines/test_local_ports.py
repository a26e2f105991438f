"""Ports where ranks meet: one attempt at a time, and never one that the kernel hands out."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from zenkei.engines.local import ports
from zenkei.engines.local.ports import Ports, kernel_free
from zenkei.model.errors import TemporaryEngineError
from zenkei.model.ids import AttemptId

FIRST, SECOND = AttemptId.parse("1/1"), AttemptId.parse("1/2")


def few(monkeypatch: pytest.MonkeyPatch, span: range) -> None:
    monkeypatch.setattr(ports, "kernel_free", lambda _: span)


def test_two_attempts_never_get_the_same_port(monkeypatch):
    few(monkeypatch, range(25_000, 25_002))
    table = Ports(Path("/home/a"))
    assert table.lease(FIRST, look=False) != table.lease(SECOND, look=False)
    with pytest.raises(TemporaryEngineError, match="no port from 25000 to 25001 is free"):
        table.lease(AttemptId.parse("2/1"), look=False)


def test_an_attempt_keeps_its_port_until_it_ends(monkeypatch):
    few(monkeypatch, range(25_000, 25_001))
    table = Ports(Path("/home/a"))
    assert table.lease(FIRST, look=False) == table.lease(FIRST, look=False) == 25_000
    table.end(FIRST)
    assert table.lease(SECOND, look=False) == 25_000


def test_a_port_of_an_attempt_from_before_a_restart_is_not_given_again(monkeypatch):
    few(monkeypatch, range(25_000, 25_002))
    table = Ports(Path("/home/a"))
    table.keep(FIRST, 25_001)
    assert table.lease(SECOND, look=False) == 25_000


def test_a_port_that_is_in_use_is_passed_over(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        few(monkeypatch, range(port, port + 1))
        with pytest.raises(TemporaryEngineError):
            Ports(Path("/home/a")).lease(FIRST, look=True)


def test_the_next_attempt_begins_elsewhere():
    table = Ports(Path("/home/a"))
    first = table.lease(FIRST, look=False)
    table.end(FIRST)
    assert table.lease(SECOND, look=False) != first


@pytest.mark.parametrize(
    ("kernels", "expected"),
    [
        ((32_768, 60_999), range(20_000, 30_000)),
        ((24_000, 60_999), range(20_000, 24_000)),
        ((10_000, 60_999), range(61_000, 65_536)),
        ((1_024, 65_535), range(20_000, 65_536)),
    ],
)
def test_ports_lie_outside_the_range_that_the_kernel_gives_from(kernels, expected):
    assert kernel_free(kernels) == expected
