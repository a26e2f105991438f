"""Collections of unused content that are killed at any instant: what is kept stays whole.

`tests/soak` has the long form.
"""

from __future__ import annotations

import os
from pathlib import Path
from random import Random
from typing import Any

from tests.dataset_trees import Place, ended, in_process
from tests.system.test_dataset_killed import SEED
from zenkei.data.depots.intents import COLLECTION

UNUSED = 200
LONG_AGO = (1e9, 1e9)


def unused(depot: Path, rng: Random) -> set[Path]:
    """Packs and versions that nobody needs, and whose time has come."""
    made = set()
    for folder in ("packs", "versions"):
        for _ in range(UNUSED):
            path = depot / folder / rng.randbytes(32).hex()
            path.write_bytes(b"unused")
            os.utime(path, LONG_AGO)
            made.add(path)
    return made


def collections_killed(folder: Path, kills: int, seed: int) -> int:
    """How many were really killed at it, with some removed and some not."""
    place, rng = Place(folder=folder), Random(seed)
    tree = {b"d%d/f%d" % (n % 7, n): rng.randbytes(2000) for n in range(50)}
    digest = place.commit(tree)["digest"]
    depot = folder / "depot"
    for path in place.packs():
        os.utime(path, LONG_AGO)  # only the version says that it is needed
    asked = {"do": "gc", "depot": place.depot, "keep": [digest], "grace_s": 3600}
    struck = 0
    for _ in range(kills):
        rest = unused(depot, rng)
        kill_after(asked, depot, rng.randrange(2 * UNUSED))
        struck += 0 < sum(path.exists() for path in rest) < len(rest)
        assert place.faults(digest) == []
        if (depot / COLLECTION).exists():
            os.utime(depot / COLLECTION, LONG_AGO)  # a minute later it counts as dead
    assert ended(in_process(asked))[0] == 0
    assert len(place.packs()) == len(list((depot / "versions").iterdir())) == 1
    assert list((depot / "intents").iterdir()) == []
    assert place.faults(digest) == []
    return struck


def kill_after(asked: dict[str, Any], depot: Path, removals: int) -> None:
    """0: as soon as it has begun, before anything is removed."""
    folders = [depot / "packs", depot / "versions"]

    def count() -> int:
        return sum(len(os.listdir(folder)) for folder in folders)

    process, before = in_process(asked), count()
    while process.poll() is None:
        if (depot / COLLECTION).exists() and before - count() >= removals:
            break
    process.kill()
    ended(process)


def test_collections_killed_at_any_instant_lose_nothing_and_their_repeat_finishes(tmp_path: Path):
    assert collections_killed(tmp_path, 10, SEED) >= 5
