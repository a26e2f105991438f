"""How a version becomes visible: mounted over its packs, through loop devices, or as a copy.

Run as root on a kernel with EROFS, and as anybody anywhere: each test says which rung it is about.
"""

from __future__ import annotations

import multiprocessing
import os
import stat
import tempfile
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from tests.unit.data.dataset_maker import Link, Program, Tree, version
from tests.unit.data.folder_depot import FolderDepot
from tests.unit.data.test_node_image import tree_at, varied
from zenkei.data import disk
from zenkei.data.node import mounting, unpack
from zenkei.data.node.cache import Cache
from zenkei.data.node.ladder import Means, Shown, show
from zenkei.data.node.layout import PACKS, Layout
from zenkei.model.errors import Conflict, Unavailable

ALL = frozenset(Means)
FORK = multiprocessing.get_context("fork")


@pytest.fixture
def depot(tmp_path: Path) -> FolderDepot:
    return FolderDepot(tmp_path / "depot")


@pytest.fixture
def cache(tmp_path: Path, depot: FolderDepot) -> Iterator[Cache]:
    layout = Layout(tmp_path / "cache")
    layout.make()
    yield Cache(layout, depot)
    for path in (layout.root / "mounts").iterdir():
        if mounting.is_mount(path):
            mounting.unmount(path)
        path.rmdir()


def links_are_whole(tree: Tree) -> Tree:
    """A table that is read refuses links that lead out of the tree."""
    return {
        path: Link(b"../" * path.count(b"/") + b"a/b/c.txt")
        if isinstance(content, Link)
        else content
        for path, content in tree.items()
    }


TREE = links_are_whole(varied(7))


def test_any_machine_shows_the_whole_version_and_says_by_which_means(
    cache: Cache, depot: FolderDepot, tmp_path: Path
):
    digest = depot.keep(*version(TREE))
    shown = show(cache, digest, tmp_path / "copy", allowed=ALL)
    assert tree_at(shown.path) == TREE
    assert f"{shown.means}: " in shown.why
    assert [rung.taken for rung in shown.rungs] == [False] * (len(shown.rungs) - 1) + [True]
    assert all(rung.why for rung in shown.rungs)


@pytest.mark.root
def test_a_second_asker_gets_the_same_mount(cache: Cache, depot: FolderDepot, tmp_path: Path):
    digest = depot.keep(*version(TREE))
    first, second = (show(cache, digest, tmp_path / "copy", allowed=ALL) for _ in range(2))
    if first.means is Means.COPY:
        pytest.skip(f"nothing can be mounted here: {first.why}")
    assert first.path == second.path
    mounting.unmount(first.path)
    assert not mounting.is_mount(first.path)


@pytest.mark.root
def test_an_older_kernel_is_served_through_loop_devices(
    cache: Cache, depot: FolderDepot, tmp_path: Path
):
    tree: Tree = {b"a/b": b"x" * 70_000, b"c": b"y", b"run": Program(b"#!")}
    digest = depot.keep(*version(tree))
    shown = show(cache, digest, tmp_path / "copy", allowed=ALL - {Means.EROFS})
    assert shown.rungs[0].why == "not asked for"
    if shown.means is Means.COPY:
        pytest.skip(f"no loop devices here: {shown.why}")
    assert tree_at(shown.path) == tree
    with pytest.raises(OSError, match="Read-only"):
        (shown.path / "new").touch()


@pytest.mark.root
def test_what_is_evicted_stays_readable_where_it_is_mounted(
    cache: Cache, depot: FolderDepot, tmp_path: Path
):
    digest = depot.keep(*version(TREE))
    shown = show(cache, digest, tmp_path / "copy", allowed=ALL)
    if shown.means is Means.COPY:
        pytest.skip(f"nothing can be mounted here: {shown.why}")
    for name, _ in cache.record(digest).packs:
        cache.layout.forget(PACKS, name)
    assert tree_at(shown.path) == TREE


@pytest.mark.root
def test_a_pack_that_vanishes_before_the_mount_is_fetched_again(
    cache: Cache, depot: FolderDepot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    digest = depot.keep(*version(TREE))
    make = cache.image

    def image_and_an_evictor(wanted: str) -> Path:
        monkeypatch.setattr(cache, "image", make)
        path = make(wanted)
        cache.layout.forget(PACKS, cache.record(digest).packs[1][0])
        return path

    monkeypatch.setattr(cache, "image", image_and_an_evictor)
    shown = show(cache, digest, tmp_path / "copy", allowed=ALL)
    assert tree_at(shown.path) == TREE


# --- copies: no rights are needed ---


def copied(cache: Cache, digest: str, to: Path) -> Shown:
    return show(cache, digest, to, allowed=frozenset())


@pytest.mark.parametrize("processes", [1, 3])
def test_a_copy_has_the_tree_contents_and_modes(
    cache: Cache, depot: FolderDepot, tmp_path: Path, processes: int
):
    digest = depot.keep(*version(TREE))
    record = cache.fill(digest)
    unpack._ROWS_A_PROCESS, before = 100, unpack._ROWS_A_PROCESS  # type: ignore[misc]
    mask = os.umask(0o077)
    try:
        table = cache.table(digest)
        unpack.unpack(table, cache.packs(record), tmp_path / "copy", processes=processes)
    finally:
        os.umask(mask)
        unpack._ROWS_A_PROCESS = before  # type: ignore[misc]
    assert tree_at(tmp_path / "copy") == TREE
    assert stat.S_IMODE((tmp_path / "copy" / "a" / "b" / "c.txt").stat().st_mode) == 0o644
    assert stat.S_IMODE((tmp_path / "copy" / "a" / "b").stat().st_mode) == 0o755


def test_writes_into_a_copy_reach_nobody_else(cache: Cache, depot: FolderDepot, tmp_path: Path):
    digest = depot.keep(*version(TREE))
    mine = copied(cache, digest, tmp_path / "mine").path
    for top, _, names in os.walk(mine):
        for name in names:
            path = Path(top, name)
            if not path.is_symlink():
                path.chmod(0o666)
                path.write_bytes(b"poison")
    assert tree_at(copied(cache, digest, tmp_path / "yours").path) == TREE


def test_a_copy_is_never_made_over_something_else(cache: Cache, depot: FolderDepot, tmp_path: Path):
    digest = depot.keep(*version(TREE))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    with pytest.raises(Conflict) as refused:
        copied(cache, digest, tmp_path / "full")
    assert refused.value.code == "not-empty"
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine"]
    (tmp_path / "empty").mkdir()
    assert tree_at(copied(cache, digest, tmp_path / "empty").path) == TREE


def test_a_copy_that_does_not_fit_is_refused_before_it_begins(
    cache: Cache, depot: FolderDepot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    digest = depot.keep(*version(TREE))
    cache.fill(digest)
    monkeypatch.setattr(disk, "free_bytes", lambda _: 1000)
    with pytest.raises(Unavailable) as refused:
        copied(cache, digest, tmp_path / "copy")
    assert refused.value.code == "disk-full"
    assert not (tmp_path / "copy").exists()


def test_half_a_copy_of_a_killed_process_is_done_again(
    cache: Cache, depot: FolderDepot, tmp_path: Path
):
    digest = depot.keep(*version(TREE))
    (tmp_path / "copy.part" / "a").mkdir(parents=True)
    (tmp_path / "copy.part" / "a" / "half").touch()
    assert tree_at(copied(cache, digest, tmp_path / "copy").path) == TREE
    assert not (tmp_path / "copy.part").exists()


def as_ordinary_user(folder: Path, digest: str, told: Connection) -> None:
    try:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        layout = Layout(folder / "cache")
        layout.make()
        cache = Cache(layout, FolderDepot(folder / "depot"))
        shown = show(cache, digest, folder / "copy", allowed=ALL)
        told.send((shown.means, shown.why, (shown.path / "a" / "b").read_bytes()))
    except BaseException as error:  # noqa: BLE001 -- told to the test
        told.send(error)
    os._exit(0)


@pytest.mark.root
def test_an_ordinary_user_gets_a_copy_and_is_told_why():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        digest = FolderDepot(folder / "depot").keep(*version({b"a/b": b"content"}))
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o777)
        ours, theirs = FORK.Pipe(duplex=False)
        user = FORK.Process(target=as_ordinary_user, args=(folder, digest, theirs))
        user.start()
        user.join()
        answer = ours.recv()
    if isinstance(answer, BaseException):
        raise answer
    means, why, content = answer
    assert (means, content) == (Means.COPY, b"content")
    assert "erofs: uid 65534 may not mount here (no CAP_SYS_ADMIN" in why
    assert "erofs-loop: no loop device: Permission denied" in why
