"""Checks of a node: each finds its illness, and none finds one where there is none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from zenkei.agent import gpus
from zenkei.agent.gpus import Used
from zenkei.agent.health import Wanted, check
from zenkei.protocol import launch, names

HOUR_US = 3600 * 1_000_000


def now_us() -> int:
    return time.time_ns() // 1000


def test_this_machine_is_fit(tmp_path: Path) -> None:
    wanted = Wanted(str(tmp_path), address="127.0.0.1", peers=("127.0.0.2",), at_us=now_us())
    assert check(wanted) == []
    assert list(tmp_path.iterdir()) == [], "a check leaves nothing behind"


def test_a_directory_that_is_gone_is_told(tmp_path: Path) -> None:
    (said,) = check(Wanted(str(tmp_path / "gone")))
    assert said == "the disk of the attempts cannot be written: No such file or directory"


def test_a_full_disk_is_no_illness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("zenkei.agent.health.os.write", full)
    assert check(Wanted(str(tmp_path))) == []


def test_an_address_that_the_node_does_not_have_is_told(tmp_path: Path) -> None:
    (said,) = check(Wanted(str(tmp_path), address="203.0.113.7"))
    assert "203.0.113.7" in said


@pytest.mark.parametrize(
    ("off_us", "said"),
    [(-2 * HOUR_US, ""), (48 * HOUR_US, "behind"), (-48 * HOUR_US, "ahead of")],
)
def test_a_clock_that_is_absurd_against_the_controllers_is_told(
    tmp_path: Path, off_us: int, said: str
) -> None:
    found = check(Wanted(str(tmp_path), at_us=now_us() + off_us))
    assert [said in problem for problem in found] == ([True] if said else [])


def test_more_memory_than_there_is_is_told(tmp_path: Path) -> None:
    (said,) = check(Wanted(str(tmp_path), memory_bytes=1 << 62))
    assert "memory" in said


def test_a_gpu_that_fell_off_or_that_a_stranger_uses_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = os.getpid()
    seen = [Used("GPU-1", True, []), Used("GPU-2", False, []), Used("GPU-3", True, [stranger])]
    monkeypatch.setattr(gpus, "ask", lambda uuids: [u for u in seen if u.uuid in uuids])
    assert check(Wanted(str(tmp_path), ("GPU-1",))) == []
    assert check(Wanted(str(tmp_path), ("GPU-2",))) == ["GPU GPU-2 is not there"]
    (said,) = check(Wanted(str(tmp_path), ("GPU-3",)))
    assert f"process {stranger}" in said


def test_a_share_of_a_gpu_beside_another_job_is_fine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with subprocess.Popen(["sleep", "60"], env={names.TREE: "abc"}) as other:
        try:
            monkeypatch.setattr(gpus, "ask", lambda _uuids: [Used("GPU-1", True, [other.pid])])
            assert check(Wanted(str(tmp_path), ("GPU-1",))) == []
        finally:
            other.kill()


def test_a_driver_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "_look", lambda _uuids: time.sleep(60))
    said = gpus.ask(["GPU-1"], timeout_s=0.2)
    assert said == "the GPU driver did not answer within 0.2 s"


def test_devices_are_the_drivers_of_an_attempt_and_no_declared_ones() -> None:
    document = launch.Launch(
        attempt="1/1", node="n", node_rank=0, nodes=1, tree="t", argv=("true",)
    )
    assert gpus.given(document) == []
    given = document._replace(env={"CUDA_VISIBLE_DEVICES": "GPU-1,GPU-2"})
    assert gpus.given(given) == ["GPU-1", "GPU-2"]


def test_a_probe_says_what_it_found_as_json(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "zenkei.agent", "probe", str(tmp_path)]
    for address, sound in (("127.0.0.1", True), ("203.0.113.7", False)):
        done = subprocess.run([*argv, address, ""], capture_output=True, check=True)
        assert (json.loads(done.stdout) == []) is sound
