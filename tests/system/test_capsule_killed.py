"""Capsules that are written and taken in by what is killed at any instant: all or nothing.

`tests/soak` has the long form.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.capsule_maker import ORIGIN, Installation, contents_of, pin
from tests.dataset_trees import nothing
from tests.system.test_dataset_killed import SEED, a_source
from zenkei.data.versions import requests

AGAIN = 2
"""An installation is killed so often before it may finish."""


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


def writes_killed(folder: Path, kills: int, seed: int) -> int:
    """How many were really killed at it."""
    rng = random.Random(seed)
    here = Installation(folder / "here")
    a_source(folder / "files", rng)
    found = here.commit(folder / "files")
    to = folder / "capsule.zip"
    order: dict[str, Any] = {"do": "write", **here.request, "to": str(to), "job": here.job()}
    order["data"] = [pin(found["digest"], found)]
    whole_s, done = done_s(order), 0
    capsule = to.read_bytes()
    for _ in range(kills):
        to.unlink(missing_ok=True)
        done += killed(order, rng.uniform(0.2, 1.0) * whole_s)
        assert not to.exists() or to.read_bytes() == capsule
    to.unlink(missing_ok=True)
    done_s(order)
    assert to.read_bytes() == capsule
    return done


def takes_killed(folder: Path, kills: int, seed: int) -> int:
    """How many were really killed at it; now and then everything is taken anew."""
    rng = random.Random(seed)
    here = Installation(folder / "here")
    a_source(folder / "files", rng)
    found = here.commit(folder / "files")
    to = folder / "capsule.zip"
    digest = here.write(to, data=[pin(found["digest"], found)])["capsule"]
    order = {"do": "take", "path": str(to), "capsule": digest, "origin": ORIGIN}
    whole_s, done = done_s({**order, **Installation(folder / "measured").request}), 0
    for number in range(kills):
        there = Installation(folder / f"there-{number // AGAIN}")
        # what is there already is quick the second time
        most = 1.0 - 0.3 * (number % AGAIN)
        done += killed({**order, **there.request}, rng.uniform(0.2, most) * whole_s)
        assert there.versions() <= {found["digest"][3:]}
        assert damaged(there) == []
        for blob in there.contents():  # contents have the digests that they are named by
            there.blobs.get(blob)
        if number % AGAIN == AGAIN - 1 or number == kills - 1:
            _finishes(there, order, to, found["digest"])
    return done


def _finishes(there: Installation, order: dict[str, Any], capsule: Path, digest: str) -> None:
    """What was killed so often is finished by a repetition."""
    done_s({**order, **there.request})
    assert damaged(there) == []
    assert there.versions() == {digest[3:]}
    named = {name[6:] for name in contents_of(capsule) if name.startswith("blobs/")}
    assert named <= {one[3:] for one in there.contents()}
    shutil.rmtree(there.root)


def test_capsules_killed_at_any_instant_are_whole_or_not_there(tmp_path: Path) -> None:
    assert writes_killed(tmp_path, 5, SEED) >= 2


def test_imports_killed_at_any_instant_leave_nothing_damaged(tmp_path: Path) -> None:
    assert takes_killed(tmp_path, 8, SEED) >= 3
