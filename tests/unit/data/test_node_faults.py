"""The node's cache under kills, full disks, and many who mount and evict at once.

Where nothing can be mounted the same tests pass with private copies.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.unit.data.dataset_maker import Tree, version
from tests.unit.data.folder_depot import FolderDepot
from tests.unit.data.test_node_image import tree_at
from tests.unit.data.test_node_ladder import TREE
from zenkei.data.node import mounting
from zenkei.data.node.request import Request
from zenkei.data.node.service import Node
from zenkei.model.errors import Unavailable

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def depot(tmp_path: Path) -> FolderDepot:
    return FolderDepot(tmp_path / "depot")


@pytest.fixture
def base(tmp_path: Path, depot: FolderDepot) -> Iterator[dict[str, Any]]:
    """What all requests have. Whatever they mounted is unmounted."""
    cache = tmp_path / "cache"
    yield {"cache": str(cache), "depot": depot.location}
    for path in (cache / "mounts").glob("*"):
        if mounting.is_mount(path):
            mounting.unmount(path)


def ask(base: dict[str, Any], do: str, **more: Any) -> dict[str, Any]:
    request = Request({**base, **more})
    return dict(getattr(Node(request, lambda *_: None), do)(request))


# --- kills ---


def ask_and_end(base: dict[str, Any], do: str, more: dict[str, Any]) -> None:
    ask(base, do, **more)
    os._exit(0)


def kill_at_random(base: dict[str, Any], depot: FolderDepot, times: int) -> None:
    """Mounts, copies and evictions, in turns."""
    dice = random.Random(times)
    digest = depot.keep(*version(TREE, pack_bytes=1 << 14))
    for number in range(times):
        orders: list[tuple[str, dict[str, Any]]] = [
            ("mount", {"digest": digest, "holder": f"{number}/1"}),
            ("mount", {"digest": digest, "holder": f"{number}/1", "means": []}),
            ("evict", {"bytes": dice.choice([1, 200_000, 1 << 40])}),
            ("release", {"holder": f"{number - dice.randrange(4)}/1"}),
        ]
        child = FORK.Process(target=ask_and_end, args=(base, *dice.choice(orders)))
        child.start()
        child.join(dice.random() * 0.12)
        if child.pid is not None and child.exitcode is None:
            os.kill(child.pid, signal.SIGKILL)
        child.join()
    ways: tuple[list[str] | None, ...] = (None, [])
    for means in ways:
        answer = ask(base, "mount", digest=digest, holder=f"end {means}", means=means)
        assert tree_at(Path(answer["path"])) == TREE
    for holder in ask(base, "ls")["versions"][0]["holders"]:
        ask(base, "release", holder=holder)
    ask(base, "ls")
    for name in ("tmp", "claims", "mounts"):
        assert not list(Path(base["cache"], name).iterdir()), name
    assert not list(Path(base["cache"], "copies", digest[3:]).iterdir())


def test_kills_at_random_points_leave_a_cache_that_serves(base: dict[str, Any], depot: FolderDepot):
    kill_at_random(base, depot, 20)


@pytest.mark.slow
def test_four_hundred_kills_leave_a_cache_that_serves(base: dict[str, Any], depot: FolderDepot):
    kill_at_random(base, depot, 400)


# --- many at once ---


def use_and_end(base: dict[str, Any], trees: dict[str, Tree], name: str, times: int) -> None:
    """A job that comes and goes: what it sees is always its version, whole."""
    dice = random.Random(name)
    wrong = 0
    for number in range(times):
        digest = dice.choice(sorted(trees))
        order = {"digest": digest, "holder": f"{name}-{number}"}
        answer = ask(base, "mount", **order, means=dice.choice([None, []]))
        wrong += tree_at(Path(answer["path"])) != trees[digest]
        ask(base, "release", holder=order["holder"])
        if dice.random() < 0.5:
            ask(base, "evict", bytes=dice.choice([1, 1 << 40]))
    os._exit(min(wrong, 100))


def use_at_once(base: dict[str, Any], depot: FolderDepot, users: int, times: int) -> None:
    trees: dict[str, Tree] = {}
    for start in range(3):
        tree: Tree = {b"%d/%d" % (start, n): b"%d" % n * 900 for n in range(60)}
        shared: Tree = {b"s%d" % n: b"shared %d" % n * 900 for n in range(20)}
        trees[depot.keep(*version(shared | tree, pack_bytes=1 << 13))] = shared | tree
    children = [
        FORK.Process(target=use_and_end, args=(base, trees, str(number), times))
        for number in range(users)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * users


def test_who_mounts_and_evicts_at_once_always_sees_whole_versions(
    base: dict[str, Any], depot: FolderDepot
):
    use_at_once(base, depot, users=4, times=6)


@pytest.mark.slow
def test_who_mounts_and_evicts_at_once_for_long_always_sees_whole_versions(
    base: dict[str, Any], depot: FolderDepot
):
    use_at_once(base, depot, users=8, times=60)


# --- disks and jobs ---


@contextmanager
def small_disk(at: Path, size: int) -> Iterator[None]:
    at.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", at], check=True)
    try:
        yield
    finally:
        for path in at.glob("mounts/*"):
            if mounting.is_mount(path):
                mounting.unmount(path)
        subprocess.run(["umount", at], check=True)


@pytest.mark.root
def test_a_full_disk_is_told_and_leaves_nothing_half(
    base: dict[str, Any], depot: FolderDepot, tmp_path: Path
):
    small = depot.keep(*version({b"f%d" % n: b"%d" % n * 5_000 for n in range(50)}))
    large = depot.keep(*version({b"l%d" % n: b"%d" % n * 50_000 for n in range(50)}))
    with small_disk(tmp_path / "cache", 2 << 20):
        with pytest.raises(Unavailable) as refused:
            ask(base, "mount", digest=large, holder="1/1")
        assert refused.value.code in {"disk-full", "cache-full"}
        assert not list((tmp_path / "cache" / "tmp").iterdir())
        assert ask(base, "mount", digest=small, holder="1/1")["files"] == 50
        ask(base, "release", holder="1/1")


@pytest.mark.root
def test_a_cache_on_a_file_system_that_serves_no_images_is_shown_by_other_means(
    base: dict[str, Any], depot: FolderDepot, tmp_path: Path
):
    digest = depot.keep(*version(TREE))
    with small_disk(tmp_path / "cache", 64 << 20):  # many kernels mount no image from a tmpfs
        answer = ask(base, "mount", digest=digest, holder="1/1")
        assert all(rung["why"] for rung in answer["rungs"])
        assert tree_at(Path(answer["path"])) == TREE
        ask(base, "release", holder="1/1")


@pytest.mark.root
def test_room_is_made_on_a_small_disk_by_what_nobody_uses(
    base: dict[str, Any], depot: FolderDepot, tmp_path: Path
):
    with small_disk(tmp_path / "cache", 3 << 20):
        for start in range(6):
            tree: Tree = {
                b"f%d" % n: b"%d" % n * 10_000 for n in range(100 * start, 100 * start + 50)
            }
            digest = depot.keep(*version(tree))
            answer = ask(base, "mount", digest=digest, holder="1/1")
            assert tree_at(Path(answer["path"])) == tree
            ask(base, "release", holder="1/1")


@pytest.mark.root
def test_a_job_that_is_root_in_its_own_namespaces_cannot_undo_the_mount(
    base: dict[str, Any], depot: FolderDepot
):
    digest = depot.keep(*version(TREE))
    answer = ask(base, "mount", digest=digest, holder="1/1")
    if answer["kind"] != "erofs":
        pytest.skip(f"nothing can be mounted here: {answer['why']}")
    at = answer["path"]
    attacks = (
        f"mount -o remount,rw {at}",
        f"mount -o remount,bind,rw,suid,dev {at}",
        f"umount {at}",
        f"touch {at}/new",
        f"rm {at}/run.sh",
    )
    for attack in attacks:
        words = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", attack]
        done = subprocess.run(words, capture_output=True, check=False, timeout=30)
        assert done.returncode != 0, attack
    assert tree_at(Path(at)) == TREE
