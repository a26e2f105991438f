"""What a machine's own files say about RDMA."""

from __future__ import annotations

from pathlib import Path

from zenkei.engines.local.facts import rdma


def port(root: Path, device: str, state: str, link: str) -> None:
    folder = root / device / "ports" / "1"
    folder.mkdir(parents=True)
    (folder / "state").write_text(f"{state}\n")
    (folder / "link_layer").write_text(f"{link}\n")


def test_devices_with_a_port_that_is_up_are_named_with_their_links(tmp_path):
    port(tmp_path, "mlx5_0", "4: ACTIVE", "InfiniBand")
    port(tmp_path, "mlx5_1", "4: ACTIVE", "Ethernet")
    port(tmp_path, "mlx5_2", "1: DOWN", "InfiniBand")
    assert rdma(tmp_path) == {
        "rdma": "true",
        "rdma_devices": "mlx5_0,mlx5_1",
        "rdma_link": "InfiniBand+RoCE",
    }


def test_a_machine_without_a_working_device_has_no_such_label(tmp_path):
    port(tmp_path, "mlx5_0", "1: DOWN", "InfiniBand")
    assert rdma(tmp_path) == {}
    assert rdma(tmp_path / "nothing") == {}
