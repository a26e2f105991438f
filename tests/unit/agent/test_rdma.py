"""What a node must have before ranks that need RDMA start there."""

from __future__ import annotations

import resource

from zenkei.agent import rdma


def test_a_node_without_devices_says_what_it_looked_for(tmp_path):
    assert rdma.trouble(f"{tmp_path}/uverbs*") == f"no device {tmp_path}/uverbs* is there"


def test_memory_that_cannot_be_locked_is_told_with_the_limit(tmp_path, monkeypatch):
    (tmp_path / "uverbs0").touch()

    def refuse(*_: object) -> None:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "setrlimit", refuse)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (64 << 10, 64 << 10))
    assert "limited to 64 KiB, RDMA needs `unlimited`" in rdma.trouble(f"{tmp_path}/uverbs*")


def test_a_node_with_devices_and_unlimited_memory_is_good(tmp_path, monkeypatch):
    (tmp_path / "uverbs0").touch()
    set_to = []
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: set_to.append(limits))
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY,) * 2)
    assert rdma.trouble(f"{tmp_path}/uverbs*") == ""
    assert set_to == [(resource.RLIM_INFINITY, resource.RLIM_INFINITY)]
