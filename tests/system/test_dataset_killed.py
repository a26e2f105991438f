"""Commits and exports that are killed at any instant: nothing is damaged, the repeat finishes.

`tests/soak` has the long form.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from random import Random
from typing import Any

from tests.dataset_trees import Place, ended, in_process

SEED = int(os.environ.get("ZENKEI_TEST_SEED", "1"))
FILES = 600


def a_source(root: Path, rng: Random) -> None:
    for number in range(FILES):
        path = root / f"d{number % 13}" / f"f{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.randbytes(rng.choice([0, 10, 4_000, 60_000])))
    with (root / "large").open("wb") as file:  # larger than a pack, mostly a hole
        file.truncate(65 << 20)
        file.write(rng.randbytes(100))


def change(root: Path, rng: Random) -> None:
    for _ in range(rng.randrange(40)):
        path = root / f"d{rng.randrange(13)}" / f"n{rng.randrange(FILES)}"
        if path.exists() and rng.random() < 0.3:
            path.unlink()
        else:
            path.write_bytes(rng.randbytes(rng.choice([1, 5_000, 80_000])))


def killed(asked: dict[str, Any], after_s: float) -> bool:
    """Whether it was still running; its workers are killed with it by the kernel."""
    process = in_process(asked, start_new_session=True)
    time.sleep(after_s)
    process.kill()
    code, said, err = ended(process)
    assert err == ""
    assert code < 0 or said[-1].keys() == {"ok"}
    return code < 0


def took_s(asked: dict[str, Any]) -> float:
    began = time.monotonic()
    assert ended(in_process(asked))[0] == 0
    return time.monotonic() - began


def versions(place: Place) -> list[str]:
    return [f"b3:{name}" for name in os.listdir(place.folder / "depot" / "versions")]


def commits_killed(folder: Path, kills: int, seed: int) -> int:
    """How many were really killed. After each, every version that is there is whole."""
    place, rng = Place(folder=folder), Random(seed)
    a_source(place.source, rng)
    asked = {
        "do": "commit", "depot": place.depot, "source": str(place.source), "jobs": 2,
        "state": str(folder / "state"),
    }  # fmt: skip
    scratch = {**asked, "depot": f"file:{folder}/first", "state": str(folder / "first-state")}
    usual_s = took_s(scratch)
    struck = 0
    for number in range(kills):
        if number % 10 == 9:  # from nothing again: then most of the time is spent reading
            shutil.rmtree(folder / "depot")
            (folder / "state").unlink(missing_ok=True)
        change(place.source, rng)
        struck += killed(asked, rng.uniform(0.1, 1.1) * usual_s)
        if (folder / "depot" / "versions").exists():
            found = place.ask("verify", digests=versions(place), deep=True)
            assert found["damaged"] == ()
    code, said, err = ended(in_process(asked))
    assert (code, err) == (0, "")
    out = place.export(said[-1]["ok"]["digest"])
    assert os.system(f"diff -r {place.source} {out}") == 0
    return struck


def exports_killed(folder: Path, kills: int, seed: int) -> int:
    """After each the target is whole or absent; the last one leaves nothing beside it."""
    place, rng = Place(folder=folder), Random(seed)
    a_source(place.source, rng)
    digest = place.commit()["digest"]
    out = folder / "out"
    asked = {"do": "export", "depot": place.depot, "digest": digest, "to": str(out), "jobs": 2}
    usual_s = took_s(asked)
    struck = 0
    for _ in range(kills):
        shutil.rmtree(out, ignore_errors=True)
        struck += killed(asked, rng.uniform(0.1, 1.1) * usual_s)
        assert not out.exists() or os.system(f"diff -r {place.source} {out}") == 0
    shutil.rmtree(out, ignore_errors=True)
    assert ended(in_process(asked))[0] == 0
    assert os.system(f"diff -r {place.source} {out}") == 0
    assert not [name for name in os.listdir(folder) if name.endswith(".exporting")]
    return struck


def test_commits_killed_at_any_instant_damage_nothing_and_their_repeat_finishes(tmp_path: Path):
    assert commits_killed(tmp_path, 12, SEED) > 0


def test_exports_killed_at_any_instant_are_whole_or_absent(tmp_path: Path):
    assert exports_killed(tmp_path, 8, SEED) > 0
