"""Output directories become results: everything kept, nothing followed, little memory."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.data.conftest import Write, listing
from zenkei.data import contents
from zenkei.data.blobs_dir import DirectoryBlobs
from zenkei.data.export import export
from zenkei.data.tree import DirectoryTrees
from zenkei.model.data import EntryKind
from zenkei.model.errors import InvalidInput
from zenkei.model.job import CodeRequest


def test_a_result_holds_everything_whatever_its_name(
    trees: DirectoryTrees, blobs: DirectoryBlobs, write: Write, tmp_path: Path
):
    root = write({
        "model.bin": os.urandom(1 << 20), "log.txt": "x", ".env": "kept", ".gitignore": "*",
        "__pycache__/x.pyc": "kept", "empty/": "", "same": "x", "key.pem": "PRIVATE KEY",
    })  # fmt: skip
    with open(os.fsencode(root) + b"/\xff\n\x1b[2J", "wb") as file:
        file.write(b"odd")
    digest, files, size = trees.seal((root,))
    assert (files, size) == (8, (1 << 20) + 1 + 4 + 1 + 4 + 1 + 11 + 3)
    assert export(blobs, trees.manifest(digest), tmp_path / "out") == ()
    assert listing(tmp_path / "out") == listing(root)
    assert trees.seal((tmp_path / "out",))[0] == digest


def test_sealing_and_snapshotting_the_same_files_give_the_same_digest(
    trees: DirectoryTrees, write: Write
):
    root = write({"a": "1", "b/c": "2"})
    assert trees.seal((root,))[0] == trees.snapshot(root, CodeRequest()).tree


def test_links_are_kept_as_links_and_never_followed(trees: DirectoryTrees, write: Write):
    root = write({"passwd": Path("/etc/passwd"), "etc": Path("/etc"), "up": Path("../.."), "a": ""})
    digest, files, size = trees.seal((root,))
    assert (files, size) == (1, 0)
    links = {e.path: e.target for e in trees.manifest(digest).entries if e.kind is EntryKind.LINK}
    assert links == {"passwd": "/etc/passwd", "etc": "/etc", "up": "../.."}


def test_an_output_directory_that_was_replaced_by_a_link_is_refused(
    trees: DirectoryTrees, tmp_path: Path
):
    (tmp_path / "outputs").symlink_to("/etc")
    with pytest.raises(InvalidInput, match="is not a directory"):
        trees.seal((tmp_path / "outputs",))


def test_files_of_further_nodes_stand_below_their_own_directory(
    trees: DirectoryTrees, write: Write
):
    places = (
        write({"model": "0", "node-2/trap": "0"}, at="0"),
        write({}, at="1"),
        write({"model": "2"}, at="2"),
    )
    digest, files, _ = trees.seal(places)
    assert files == 3
    assert [entry.path for entry in trees.manifest(digest).entries] == [
        "model", "node-2/trap", "node-2_/model",
    ]  # fmt: skip
    digest, files, _ = trees.seal((write({"a": ""}, at="3"), write({"a": ""}, at="4")))
    assert [entry.path for entry in trees.manifest(digest).entries] == ["a", "node-1/a"]


def test_an_empty_result_is_a_result(trees: DirectoryTrees, write: Write):
    digest, files, size = trees.seal((write({}),))
    assert (trees.manifest(digest).entries, files, size) == ((), 0, 0)


def test_what_cannot_be_kept_is_left_out_and_said(trees: DirectoryTrees, write: Write):
    root = write({"a": "x"})
    os.mkfifo(root / "pipe")
    sealed = trees.seal_all((root,))
    assert (sealed.files, [(o.path, o.why) for o in sealed.left_out]) == (
        1, [("pipe", "a named pipe")],
    )  # fmt: skip


@pytest.mark.root
def test_a_device_is_not_read(trees: DirectoryTrees, write: Write):
    root = write({"a": "x"})
    os.mknod(root / "zero", 0o666 | stat.S_IFCHR, os.makedev(1, 5))
    sealed = trees.seal_all((root,))
    assert [(o.path, o.why) for o in sealed.left_out] == [("zero", "a device")]


def test_a_missing_directory_is_named(trees: DirectoryTrees, tmp_path: Path):
    with pytest.raises(InvalidInput, match="absent"):
        trees.seal((tmp_path / "absent",))


def test_a_file_that_is_still_written_is_named(
    trees: DirectoryTrees, write: Write, monkeypatch: pytest.MonkeyPatch
):
    root = write({"d/checkpoint": "x" * 1000})
    real = contents._Source.read

    def read(source, count: int) -> bytes:
        with (root / "d/checkpoint").open("a") as file:
            file.write("y")
        return real(source, count)

    monkeypatch.setattr(contents._Source, "read", read)
    with pytest.raises(InvalidInput, match="`d/checkpoint` changes while it is read"):
        trees.seal((root,))


UNREADABLE = """
import os, sys
from pathlib import Path
from zenkei.data.blobs_dir import DirectoryBlobs
from zenkei.data.tree import DirectoryTrees
from zenkei.model.errors import InvalidInput
os.setgid(65534); os.setuid(65534)
home = Path(sys.argv[1])
blobs = DirectoryBlobs(home / "blobs")
for place in sys.argv[2:]:
    try:
        DirectoryTrees(blobs, state=home).seal((Path(place),))
    except InvalidInput as error:
        print(error.code, error.message)
"""


@pytest.mark.root
def test_what_cannot_be_read_is_named(short_tmp: Path):
    os.chmod(short_tmp, 0o711)
    for name in ("file", "folder"):
        (short_tmp / name / "secret").mkdir(parents=True)
        (short_tmp / name).chmod(0o755)
    (short_tmp / "file/secret").rmdir()
    (short_tmp / "file/secret").touch(0o600)
    (short_tmp / "folder/secret").chmod(0o700)
    (short_tmp / "home").mkdir()
    os.chown(short_tmp / "home", 65534, 65534)
    places = [str(short_tmp / name) for name in ("home", "file", "folder")]
    ran = subprocess.run(
        [sys.executable, "-c", UNREADABLE, *places], capture_output=True, text=True, check=True
    )
    assert ran.stdout.splitlines() == [
        "unreadable `secret` cannot be read: Permission denied",
        "unreadable `secret` cannot be read: Permission denied",
    ]


MEMORY = """
import resource, sys
from pathlib import Path
from zenkei.data.blobs_dir import DirectoryBlobs
from zenkei.data.tree import DirectoryTrees
home = Path(sys.argv[1])
trees = DirectoryTrees(DirectoryBlobs(home / "blobs"), state=home)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(trees.seal((Path(sys.argv[2]),))[2])
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_large_files_need_little_memory(write: Write, tmp_path: Path):
    root = write({"a": "start", "b": "start"})
    for name in ("a", "b"):  # sparse: the disk of a test machine has better things to do
        os.truncate(root / name, 1 << 30)
    ran = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path / "home"), str(root)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    size, grown_mib = map(int, ran.stdout.split())
    assert size == 2 << 30
    assert grown_mib < 32
