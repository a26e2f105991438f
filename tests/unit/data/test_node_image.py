"""EROFS images of versions, read through the kernel; a machine without EROFS skips, and says so."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.unit.data.dataset_maker import Link, Program, Tree, ancestors, version
from zenkei.data.node import mounting
from zenkei.data.node.image import NoImage, write_image
from zenkei.data.versions.table import VersionTable

WALLS = os.ST_RDONLY | os.ST_NOSUID | os.ST_NODEV


@contextlib.contextmanager
def mounted(table: VersionTable, packs: dict[str, bytes], folder: Path) -> Iterator[Path]:
    for name in ("packs", "mounted"):
        (folder / name).mkdir(parents=True)
    for name, content in packs.items():
        (folder / "packs" / name).write_bytes(content + bytes(-len(content) % 512))
    write_image(table, folder / "image")
    at = folder / "mounted"
    try:
        mounting.mount_image(folder / "image", [folder / "packs" / n for n in table.packs], at)
    except mounting.NotMounted as refused:
        pytest.skip(f"no EROFS on this machine: {refused}")
    try:
        yield at
    finally:
        mounting.unmount(at)
    assert not mounting.is_mount(at)


def tree_at(folder: Path) -> Tree:
    found: Tree = {}
    top = os.fsencode(folder)
    for above, folders, files in os.walk(top):
        for name in files + folders:
            path = os.path.join(above, name)
            relative = os.path.relpath(path, top)
            if os.path.islink(path):
                found[relative] = Link(os.readlink(path))
            elif not os.path.isdir(path):
                content = Path(os.fsdecode(path)).read_bytes()
                executable = os.stat(path).st_mode & 0o100
                found[relative] = Program(content) if executable else content
            elif not os.listdir(path):
                found[relative] = None
    return found


def varied(seed: int) -> Tree:
    dice = random.Random(seed)
    tree: Tree = {
        b"a/b/c.txt": b"hello",
        b"a/-dash": b"x" * 513,
        b"a/!bang": b"",
        b"run.sh": Program(b"#!/bin/sh\n"),
        b"empty": None,
        b"a/deep/er/empty": None,
        b"short": Link(b"a/b/c.txt"),
        b"inline/100": Link(b"x" * 100),
        b"inline/480": Link(b"y" * 480),
        b"blocks/481": Link(b"z" * 481),
        b"blocks/4000": Link(b"q" * 4000),
        b"pieces": dice.randbytes((5 << 20) + 77),
        b"whole-pieces": dice.randbytes(2 << 20),
        b"one-piece": dice.randbytes(300_000),
        b"long/" + b"n" * 255: b"n",
    }
    for number in range(400):
        ending = bytes([dice.choice([1, 10, 65, 200, 255])])
        tree[b"many/%d" % number + ending] = dice.randbytes(dice.randrange(2000))
        tree[b"folder%d/x/file" % number] = b"%d" % number
    return tree


@pytest.mark.root
@pytest.mark.parametrize("listed", [True, False])
def test_a_mounted_version_has_the_tree_and_contents_it_was_made_from(tmp_path: Path, listed: bool):
    tree = varied(1)
    table, packs = version(tree, listed=listed)
    with mounted(table, packs, tmp_path) as at:
        assert tree_at(at) == tree


@pytest.mark.root
def test_every_path_is_found_by_name_and_no_other(tmp_path: Path):
    tree = varied(2)
    table, packs = version(tree)
    with mounted(table, packs, tmp_path) as at:
        top = os.fsencode(at)
        for path in tree:
            os.lstat(os.path.join(top, path))
        for missing in (b"a/b/c.tx", b"a/", b"many/0", b"zzz", b"a/b/c.txt2", b"\x01"):
            with pytest.raises(FileNotFoundError):
                os.lstat(os.path.join(top, missing) + b"x")


@pytest.mark.root
def test_directories_count_their_subdirectories(tmp_path: Path):
    tree = varied(3)
    table, packs = version(tree)
    folders = {above for path in tree for above in ancestors(path)}
    folders |= {path for path, content in tree.items() if content is None}
    with mounted(table, packs, tmp_path) as at:
        for folder in folders:
            inside = [f for f in folders if f and f.rpartition(b"/")[0] == folder]
            assert os.stat(os.path.join(os.fsencode(at), folder)).st_nlink == 2 + len(inside)


@pytest.mark.root
def test_nobody_writes_into_a_mounted_version_not_even_root(tmp_path: Path):
    table, packs = version({b"file": b"content", b"folder/file": b"x"})
    with mounted(table, packs, tmp_path) as at:
        attacks = [
            lambda: (at / "new").write_bytes(b""),
            lambda: os.open(at / "file", os.O_RDWR),
            lambda: os.truncate(at / "file", 0),
            lambda: (at / "file").chmod(0o777),
            (at / "file").unlink,
            lambda: (at / "folder").rename(at / "other"),
            (at / "more").mkdir,
            lambda: os.utime(at / "file"),
        ]
        for attack in attacks:
            with pytest.raises(OSError, match="Read-only") as refused:
                attack()
            assert refused.value.errno == errno.EROFS
        assert os.statvfs(at).f_flag & WALLS == WALLS
        with pytest.raises(OSError, match="cross-device") as refused:
            os.link(at / "file", tmp_path / "way-out")
        assert refused.value.errno == errno.EXDEV


@pytest.mark.root
def test_a_file_beyond_4_gib_is_read_at_both_ends(tmp_path: Path):
    piece = 64 << 20
    small: Tree = {b"big": b"x" * 3000, b"z": b"z"}
    table, _ = version(small, piece_bytes=1024)
    size = 70 * piece + 100
    zero = "0" * 64
    pieces = [(0, 0 if part < 70 else 1, 0, piece) for part in range(70)] + [(0, 1, 0, 100)]
    pieces.append((1, 2, 0, 1))
    large = VersionTable(
        **{name: getattr(table, name) for name in table.__dataclass_fields__}
        | {
            "sizes": table.sizes * 0 + [size, 1],
            "packs": (zero, "1" * 64, "2" * 64),
            "pack_sizes": table.pack_sizes[:3] * 0 + [piece, 512, 512],
            "pieces": np.array(pieces, dtype=table.pieces.dtype),
        }
    )
    contents = {"1" * 64: b"end of it".ljust(512, b"."), "2" * 64: b"z" * 512, zero: b""}
    with mounted(large, contents, tmp_path) as at:
        pass
    with (tmp_path / "packs" / zero).open("r+b") as file:
        file.write(b"beginning")
        file.truncate(piece)
    mounting.mount_image(tmp_path / "image", [tmp_path / "packs" / n for n in large.packs], at)
    try:
        assert (at / "big").stat().st_size == size
        with (at / "big").open("rb") as file:
            assert file.read(9) == b"beginning"
            file.seek(69 * piece)
            assert file.read(9) == b"beginning"
            file.seek(70 * piece)
            assert file.read() == b"end of it".ljust(100, b".")
    finally:
        mounting.unmount(at)


def test_the_same_table_gives_the_same_image(tmp_path: Path):
    table, _ = version(varied(4))
    for name in ("one", "two"):
        write_image(table, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_version_whose_content_lies_elsewhere_is_no_image(tmp_path: Path):
    table, _ = version({b"file": b"content"})
    absent = VersionTable(
        **{name: getattr(table, name) for name in table.__dataclass_fields__}
        | {"pieces": table.pieces[:0]}
    )
    with pytest.raises(NoImage, match="not in the store"):
        write_image(absent, tmp_path / "image")


@pytest.mark.root
def test_an_empty_version_is_an_empty_directory(tmp_path: Path):
    table, packs = version({})
    with mounted(table, packs, tmp_path) as at:
        assert os.listdir(at) == []
        assert stat.S_IMODE(at.stat().st_mode) == 0o755
