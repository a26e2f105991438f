"""Inventory, what is shipped, and where things lie."""

from __future__ import annotations

import json
import os
import platform
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.architecture.test_old_python import old_python
from zenkei.engines.local import facts, gpus, nodes, shipping
from zenkei.engines.local.devices import DeviceWatch
from zenkei.engines.local.layout import WAKE_FROM_NODE, Layout
from zenkei.engines.local.nodes import NodesConfig
from zenkei.model.errors import InvalidInput
from zenkei.model.ids import AttemptId
from zenkei.model.resources import Device
from zenkei.protocol import launch, logs, names, records, wire

NVML = """
class NVMLError(Exception): pass
class memory: total = 5
def nvmlInit(): pass
def nvmlDeviceGetCount(): return 1
def nvmlDeviceGetHandleByIndex(index): return index
def nvmlDeviceGetComputeRunningProcesses(handle): return []
def nvmlDeviceGetName(handle): return "NVIDIA H200"
def nvmlDeviceGetUUID(handle): return b"GPU-1"
def nvmlDeviceGetMemoryInfo(handle): return memory
def nvmlSystemGetDriverVersion(): return b"550.54.15"
def nvmlSystemGetCudaDriverVersion_v2(): return 12040
"""
"""The part of NVML's Python that the probe asks, of a machine with one GPU."""


def test_declared_nodes_have_addresses_and_devices_of_their_own_and_are_labelled(tmp_path):
    config = NodesConfig(nodes=3, gpus_per_node=2, cpus_per_node=0.5, memory_per_node=1 << 30)
    found = nodes.declared(config, "boot", tmp_path)
    assert [node.name for node in found] == ["node-1", "node-2", "node-3"]
    assert len({node.address for node in found}) == 3
    assert all(node.virtual and node.labels["virtual"] == "true" for node in found)
    assert [device.uuid for device in found[0].capacity.devices] == ["", ""]
    assert found[0].capacity.cpu_milli == 500


def test_a_declaration_is_read_as_it_was_saved(tmp_path):
    config = NodesConfig(nodes=2, prefixes={"node-2": ("nsenter", "--net=/run/x")})
    config.save(tmp_path / "nodes.json")
    assert NodesConfig.load(tmp_path / "nodes.json") == config
    assert NodesConfig.load(tmp_path / "none.json") is None


@pytest.mark.parametrize("text", ["", "[]", '{"nodes": 0}', '{"nodes": 100000}', '{"nodes": "x"}'])
def test_a_bad_declaration_is_refused(tmp_path, text):
    (tmp_path / "nodes.json").write_text(text)
    with pytest.raises(InvalidInput):
        NodesConfig.load(tmp_path / "nodes.json")


def test_this_machine_is_measured(tmp_path):
    [node] = nodes.measured("boot", tmp_path)
    assert 0 < node.capacity.cpu_milli <= len(os.sched_getaffinity(0)) * 1000
    assert (
        0 < node.capacity.memory_bytes <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    )
    assert not node.virtual
    assert node.labels["kernel"] == os.uname().release
    assert node.labels["python"] == platform.python_version()
    assert {"cpu_model", "kernel", "os", "python"} <= set(node.labels)


def test_a_declared_node_says_what_machine_it_is_part_of(tmp_path):
    [node] = nodes.declared(NodesConfig(nodes=1, gpus_per_node=1), "boot", tmp_path)
    assert node.labels == {**facts.of_machine(), "virtual": "true"}


def test_facts_of_a_machine_are_short_and_harmless(tmp_path, monkeypatch):
    release, cpu = tmp_path / "os-release", tmp_path / "cpuinfo"
    release.write_bytes(b'NAME=x\nPRETTY_NAME="Deb\x1b[31m\xffian  12"\n')
    cpu.write_text("processor\t: 0\nmodel name\t: " + "A" * 500 + "\nmodel name\t: B\n")
    monkeypatch.setattr(facts, "OS_RELEASE", release)
    monkeypatch.setattr(facts, "CPU_INFO", cpu)
    found = facts.of_machine()
    assert found["os"] == "Deb [31m ian 12"
    assert found["cpu_model"] == "A" * facts.MAX_CHARS


def test_a_machine_that_does_not_tell_is_named_by_what_the_kernel_says(tmp_path, monkeypatch):
    monkeypatch.setattr(facts, "OS_RELEASE", tmp_path / "none")
    monkeypatch.setattr(facts, "CPU_INFO", tmp_path / "none")
    found = facts.of_machine()
    assert (found["os"], found["cpu_model"]) == (os.uname().sysname, os.uname().machine)
    assert facts.known({"driver": "", "cuda": "12.4"}) == {"cuda": "12.4"}


def test_a_driver_that_hangs_or_fails_means_no_gpus(monkeypatch):
    monkeypatch.setattr(Path, "exists", lambda _: True)
    monkeypatch.setattr(gpus, "TIMEOUT_S", 0.2)
    for probe in ("import time; time.sleep(60)", "raise SystemExit(3)", "print('{')"):
        monkeypatch.setattr(gpus, "_PROBE", probe)
        assert gpus.probe() == ()


def test_gpus_are_named_by_model_and_blocked_if_somebody_else_uses_them(monkeypatch):
    monkeypatch.setattr(Path, "exists", lambda _: True)
    row = "{'index': 0, 'kind': 'NVIDIA H200', 'uuid': 'GPU-1', 'memory': 5, 'pids': %s}"
    both = f"import json; print(json.dumps([{row % '[]'}, {row % [os.getpid()]}]))"
    monkeypatch.setattr(gpus, "_PROBE", both)
    free, used = gpus.probe()
    assert (free.device.kind, free.foreign, used.foreign) == ("h200", False, True)
    assert (free.driver, free.cuda) == ("", ""), "an old library may not tell"


def test_the_versions_of_driver_and_cuda_are_labels(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "exists", lambda _: True)
    library = tmp_path / "pynvml.py"
    library.write_text(NVML, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    [node] = nodes.measured("boot", tmp_path)
    assert (node.labels["driver"], node.labels["cuda"]) == ("550.54.15", "12.4")
    library.write_text(NVML + "def nvmlSystemGetCudaDriverVersion_v2(): raise NVMLError\n")
    [node] = nodes.measured("boot", tmp_path)
    assert node.labels["driver"] == "550.54.15"
    assert "cuda" not in node.labels


def test_a_device_that_somebody_else_takes_is_reported_once(tmp_path):
    [node] = nodes.measured("boot", tmp_path)
    device = Device(index=0, kind="h200", uuid="GPU-1")
    free = replace(node, capacity=replace(node.capacity, devices=(device,)))
    state = [free]
    told: list[tuple[int, ...]] = []
    watch = DeviceWatch(lambda: tuple(state), lambda node: told.append(node.blocked))
    watch.start((free,))
    watch.compare()
    state[0] = replace(free, blocked=(0,))
    watch.compare()
    watch.compare()
    state[0] = free
    watch.compare()
    watch.close()
    assert told == [(0,), ()]


def test_the_same_source_is_shipped_as_the_same_file(tmp_path):
    (tmp_path / "other").mkdir()
    first, second = shipping.ship_agent(tmp_path), shipping.ship_agent(tmp_path / "other")
    assert (first.name, first.read_bytes()) == (second.name, second.read_bytes())


@pytest.mark.parametrize("python", [sys.executable, old_python()], ids=["own", "3.8"])
def test_the_shipped_agent_supervises_isolated_from_everything(tmp_path, python):
    if python is None:
        pytest.skip("no Python 3.8 on this machine (set ZENKEI_TEST_PYTHON38)")
    place = tmp_path / "attempt"
    place.mkdir()
    for name in (names.SPOOL_FILE, names.INBOX_FILE):
        records.make(str(place / name))
    document = launch.Launch(
        attempt="1/1",
        node="n",
        node_rank=0,
        nodes=1,
        tree=f"test-{os.getpid()}",
        argv=("/bin/sh", "-c", "echo hello; echo bad >&2; exit 3"),
        env={"PATH": "/usr/bin:/bin"},
    )
    (place / names.LAUNCH_FILE).write_bytes(launch.dump(document))
    ours, theirs = socket.socketpair()
    command = [python, "-I", "-S", str(shipping.ship_agent(tmp_path)), "supervise"]
    with ours, theirs, subprocess.Popen(command, stdin=theirs.fileno(), cwd=tmp_path) as process:
        order = json.dumps({"dir": str(place), "secrets": {}}).encode()
        ours.sendall(wire.frame(wire.SUPERVISE, order))
        assert process.wait(30) == 0
    found = records.read(str(place / names.SPOOL_FILE))
    assert [record["kind"] for record in found] == ["claimed", "started", "exited", "released"]
    assert (found[2]["code"], found[2]["detail"]) == (3, "bad")
    chunks, _ = logs.decode(logs.read(str(place / names.LOG_DIR), 0, 9999), 0)
    assert {chunk.data for chunk in chunks} == {b"hello\n", b"bad\n"}


def test_the_shipped_sdk_is_importable_and_nothing_else_is(tmp_path):
    sdk = shipping.ship_sdk(tmp_path)
    code = (
        "import zenkei.sdk, zenkei.protocol\ntry: import zenkei.model\nexcept ImportError: print(1)"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={"PYTHONPATH": str(sdk)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "1\n"


def test_the_wake_up_socket_is_where_supervisors_look_for_it():
    layout = Layout(Path("/h"))
    node = layout.node(AttemptId.parse("42.7/2"), 3)
    assert str(node) == "/h/attempts/42.7/2/node-3"
    assert os.path.normpath(node / WAKE_FROM_NODE) == f"/h/attempts/{names.WAKE_SOCKET}"
