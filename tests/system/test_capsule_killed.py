"""Capsules that are written and taken in by what is killed at any instant: all or nothing."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.capsule_maker import ORIGIN, Installation, contents_of, pin
from tests.dataset_trees import nothing
from tests.system.test_dataset_killed import SEED, a_source
from zenkei.data.versions import requests

WRITES, TAKES = 5, 8


def killed(order: dict[str, Any], after_s: float) -> bool:
    """Whether it was still running; what it has forked is killed with it by the kernel."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "zenkei.data.capsules"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(order).encode() + b"\n")
    process.stdin.close()
    process.stdin = None
    time.sleep(after_s)
    process.kill()
    _, err = process.communicate(timeout=100)
    assert err == b""
    return process.returncode < 0


def done_s(order: dict[str, Any]) -> float:
    """Do it; how long it took."""
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-P", "-m", "zenkei.data.capsules"],
        input=json.dumps(order).encode() + b"\n",
        capture_output=True,
        check=True,
    )
    return time.monotonic() - began


def damaged(place: Installation) -> list[Any]:
    digests = [f"b3:{name}" for name in place.versions()]
    order = {"do": "verify", "depot": place.request["depot"], "digests": digests, "deep": True}
    return list(requests.answer(order, nothing)["damaged"])


def test_capsules_killed_at_any_instant_are_whole_or_not_there(tmp_path: Path) -> None:
    rng = random.Random(SEED)
    here = Installation(tmp_path / "here")
    a_source(tmp_path / "files", rng)
    found = here.commit(tmp_path / "files")
    to = tmp_path / "capsule.zip"
    order: dict[str, Any] = {"do": "write", **here.request, "to": str(to), "job": here.job()}
    order["data"] = [pin(found["digest"], found)]
    whole_s = done_s(order)
    capsule = to.read_bytes()
    for _ in range(WRITES):
        to.unlink(missing_ok=True)
        if killed(order, rng.uniform(0.2, 1.0) * whole_s):
            assert not to.exists() or to.read_bytes() == capsule
    to.unlink(missing_ok=True)
    done_s(order)
    assert to.read_bytes() == capsule


def test_imports_killed_at_any_instant_leave_nothing_damaged(tmp_path: Path) -> None:
    rng = random.Random(SEED)
    here, there = Installation(tmp_path / "here"), Installation(tmp_path / "there")
    a_source(tmp_path / "files", rng)
    found = here.commit(tmp_path / "files")
    to = tmp_path / "capsule.zip"
    digest = here.write(to, data=[pin(found["digest"], found)])["capsule"]
    order = {"do": "take", "path": str(to), "capsule": digest, "origin": ORIGIN}
    whole_s = done_s({**order, **Installation(tmp_path / "measured").request})
    for _ in range(TAKES):
        killed({**order, **there.request}, rng.uniform(0.2, 1.0) * whole_s)
        assert there.versions() <= {found["digest"][3:]}
        assert damaged(there) == []
        # contents have the digests that they are named by
        for blob in there.contents():
            there.blobs.get(blob)
    done_s({**order, **there.request})
    assert damaged(there) == []
    assert there.versions() == {found["digest"][3:]}
    named = {name[6:] for name in contents_of(to) if name.startswith("blobs/")}
    assert named <= {one[3:] for one in there.contents()}
