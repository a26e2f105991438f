"""Trees made on disk: complete or absent, exact, and never outside their directory."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from tests.unit.data.conftest import Write, listing
from zenkei.data import checkout as checkout_module
from zenkei.data.blobs_dir import DirectoryBlobs
from zenkei.data.checkout import differences
from zenkei.data.digests import to_raw
from zenkei.data.manifest import HEADER, canonical
from zenkei.data.tree import DirectoryTrees
from zenkei.model.data import Digest, Entry, EntryKind
from zenkei.model.errors import Conflict, InternalError, InvalidInput, NotFound, Unavailable
from zenkei.model.job import CodeRequest

FILES: dict[str, str | bytes | Path] = {
    "train.py": "print()",
    "run.sh": "#!/bin/sh\n",
    "deep/er/data.bin": os.urandom(3 << 20),
    "deep/link": Path("er/data.bin"),
    "empty/": "",
}


@pytest.fixture
def tree(trees: DirectoryTrees, write: Write) -> Digest:
    root = write(FILES)
    (root / "run.sh").chmod(0o755)
    return trees.snapshot(root, CodeRequest()).tree


def test_a_checkout_is_an_exact_copy_whatever_the_umask(
    trees: DirectoryTrees, tree: Digest, tmp_path: Path
):
    old = os.umask(0o077)
    try:
        trees.checkout(tree, tmp_path / "code" / "x")
    finally:
        os.umask(old)
    assert listing(tmp_path / "code/x") == listing(tmp_path / "work")
    assert {oct(p.stat().st_mode & 0o777) for p in (tmp_path / "code/x").rglob("*er")} == {"0o755"}
    assert differences(trees.manifest(tree), tmp_path / "code" / "x") == []


def test_a_sparse_file_stays_sparse(trees: DirectoryTrees, write: Write, tmp_path: Path):
    root = write({"sparse": ""})
    os.truncate(root / "sparse", 64 << 20)
    trees.checkout(trees.snapshot(root, CodeRequest()).tree, tmp_path / "x")
    made = (tmp_path / "x" / "sparse").stat()
    assert made.st_size == 64 << 20
    assert made.st_blocks * 512 <= 1 << 20


def test_a_second_checkout_leaves_the_tree_as_it_is(
    trees: DirectoryTrees, tree: Digest, tmp_path: Path
):
    to = tmp_path / "x"
    trees.checkout(tree, to)
    inode = (to / "train.py").stat().st_ino
    trees.checkout(tree, to)
    assert (to / "train.py").stat().st_ino == inode


@pytest.mark.parametrize(
    "alter",
    [
        lambda to: (to / "train.py").write_text("evil()!"),
        lambda to: (to / "train.py").unlink(),
        lambda to: (to / "new.py").touch(),
        lambda to: (to / "run.sh").chmod(0o644),
        lambda to: ((to / "deep/link").unlink(), (to / "deep/link").symlink_to("/etc")),
        lambda to: shutil.rmtree(to / "deep"),
        lambda to: (to / "empty/x").mkdir(),
    ],
)
def test_a_tree_that_a_job_has_altered_is_made_anew(
    trees: DirectoryTrees, tree: Digest, tmp_path: Path, alter
):
    to = tmp_path / "code" / "x"
    trees.checkout(tree, to)
    before = (to / "train.py").stat()
    alter(to)
    if (to / "train.py").exists():
        os.utime(to / "train.py", ns=(before.st_atime_ns, before.st_mtime_ns))
    trees.checkout(tree, to)
    assert listing(to) == listing(tmp_path / "work")
    assert len(list(to.parent.glob("*.condemned"))) == 1


@pytest.mark.parametrize("damaged", [False, True])
def test_after_a_reboot_contents_are_compared(
    trees: DirectoryTrees, tree: Digest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    damaged: bool,
):  # fmt: skip
    to = tmp_path / "code" / "x"
    trees.checkout(tree, to)
    inode = (to / "run.sh").stat().st_ino
    boot = tmp_path / "boot_id"
    boot.write_text("another boot")
    monkeypatch.setattr(checkout_module, "BOOT_ID", boot)
    if damaged:  # as a power cut leaves files that were never written out
        os.truncate(to / "train.py", 0)
    trees.checkout(tree, to)
    assert listing(to) == listing(tmp_path / "work")
    assert ((to / "run.sh").stat().st_ino == inode) is not damaged


def test_a_directory_with_something_else_in_it_is_not_touched(
    trees: DirectoryTrees, tree: Digest, tmp_path: Path
):
    (tmp_path / "x").mkdir()
    trees.checkout(tree, tmp_path / "x")
    for name in ("mine", "file"):
        (tmp_path / name).mkdir() if name == "mine" else (tmp_path / name).touch()
    (tmp_path / "mine/precious").touch()
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("mine", "file", "dangling"):
        with pytest.raises(Conflict, match="was not made from a stored tree"):
            trees.checkout(tree, tmp_path / name)
    assert os.listdir(tmp_path / "mine") == ["precious"]


def test_a_checkout_that_fails_leaves_nothing(
    trees: DirectoryTrees, blobs: DirectoryBlobs, tree: Digest, tmp_path: Path
):
    large = next(e for e in trees.manifest(tree).entries if e.path == "deep/er/data.bin")
    stored = blobs.object_path(to_raw(large.digest))
    content = bytearray(stored.read_bytes())
    content[2 << 20] ^= 1
    stored.write_bytes(content)
    with pytest.raises(InternalError, match="no longer has its digest"):
        trees.checkout(tree, tmp_path / "code" / "x")
    with pytest.raises(NotFound, match=large.digest):
        trees.checkout(tree, tmp_path / "code" / "x")
    assert list((tmp_path / "code").iterdir()) == []


def test_threads_that_want_the_same_tree_make_it_once(
    trees: DirectoryTrees, tree: Digest, tmp_path: Path
):
    inodes: list[int] = []

    def work() -> None:
        trees.checkout(tree, tmp_path / "code" / "x")
        inodes.append((tmp_path / "code/x/train.py").stat().st_ino)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(inodes) == 8
    assert len(set(inodes)) == 1


def test_an_unknown_tree_is_not_found(trees: DirectoryTrees, tmp_path: Path):
    with pytest.raises(NotFound):
        trees.checkout(Digest("b3:" + "0" * 64), tmp_path / "x")


class TestHostileManifest:
    @pytest.mark.parametrize(
        "path", ["../escaped", "/tmp/escaped", "a/../../escaped", "..", "a//b", "link/x"]
    )
    def test_no_path_leads_out(
        self, trees: DirectoryTrees, blobs: DirectoryBlobs, tmp_path: Path, path: str
    ):
        content = blobs.put(b"evil")
        file = Entry(path=path, kind=EntryKind.FILE, size_bytes=4, digest=content)
        link = Entry(path="link", kind=EntryKind.LINK, target="/tmp")
        hostile = blobs.put(canonical([file, link]))
        before = {p for p in tmp_path.rglob("*") if blobs.root not in p.parents}
        with pytest.raises(InvalidInput):
            trees.checkout(hostile, tmp_path / "code" / "x")
        assert {p for p in tmp_path.rglob("*") if blobs.root not in p.parents} == before

    @pytest.mark.parametrize("target", ["/etc/passwd", "../x", "a/../../x"])
    def test_no_link_leads_out(
        self, trees: DirectoryTrees, blobs: DirectoryBlobs, tmp_path: Path, target: str
    ):
        link = Entry(path="link", kind=EntryKind.LINK, target=target)
        hostile = blobs.put(canonical([link]))
        with pytest.raises(InvalidInput, match="points out of the tree"):
            trees.checkout(hostile, tmp_path / "x")
        assert not (tmp_path / "x").exists()

    def test_a_size_that_is_not_the_contents_is_refused(
        self, trees: DirectoryTrees, blobs: DirectoryBlobs, tmp_path: Path
    ):
        content = blobs.put(b"four")
        file = Entry(path="a", kind=EntryKind.FILE, size_bytes=5, digest=content)
        with pytest.raises(InvalidInput, match="5 bytes, it has 4"):
            trees.checkout(blobs.put(canonical([file])), tmp_path / "x")

    def test_a_blob_that_is_no_manifest_is_refused(
        self, trees: DirectoryTrees, blobs: DirectoryBlobs, tmp_path: Path
    ):
        for content in (b"", b"text", HEADER[:-2]):
            with pytest.raises(InvalidInput, match="refused"):
                trees.checkout(blobs.put(content), tmp_path / "x")


@pytest.mark.root
def test_a_full_disk_leaves_nothing_and_is_named(
    trees: DirectoryTrees, tree: Digest, tmp_path: Path
):
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", small], check=True)
    try:
        with pytest.raises(Unavailable) as caught:
            trees.checkout(tree, small / "x")
        assert (caught.value.code, caught.value.details["path"]) == ("disk-full", str(small / "x"))
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", small], check=True)
