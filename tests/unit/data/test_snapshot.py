"""Which files travel, what stays at home and is said, and files that change meanwhile."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from tests.unit.data.conftest import Write, listing
from zenkei.data import contents, stat_cache
from zenkei.data.blobs_dir import DirectoryBlobs
from zenkei.data.scan import Limits
from zenkei.data.tree import DirectoryTrees
from zenkei.model.errors import InvalidInput
from zenkei.model.job import CodeRequest
from zenkei.ports.trees import Snapshot

KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk\n-----END OPENSSH PRIVATE KEY-----\n"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


def paths(trees: DirectoryTrees, snapshot: Snapshot) -> set[str]:
    return {entry.path for entry in trees.manifest(snapshot.tree).entries}


def out(snapshot: Snapshot) -> dict[str, str]:
    return {left.path: left.why for left in snapshot.left_out}


@pytest.fixture
def aged(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if every file had been written long ago: only then is it remembered."""
    monkeypatch.setattr(stat_cache, "RACY_NS", -(10**15))


def test_the_same_tree_has_the_same_digest_wherever_it_lies(trees: DirectoryTrees, write: Write):
    files = {"a.py": "print()", "d/b.sh": "#!/bin/sh", "d/link": Path("../a.py"), "e/": ""}
    one, two = write(files, at="one"), write(files, at="some/where/else")
    (one / "d/b.sh").chmod(0o700)
    (two / "d/b.sh").chmod(0o775)
    (two / "a.py").chmod(0o600)
    snapshot = trees.snapshot(one, CodeRequest())
    assert trees.snapshot(two, CodeRequest()).tree == snapshot.tree
    assert snapshot.tree == "b3:97e72c21796d6934b8c5b452e9a167155316ff1070bbb731058b8bf1dad31f48"
    assert (snapshot.files, snapshot.size_bytes, snapshot.stored) == (2, 16, 2)
    modes = {entry.path: entry.mode for entry in trees.manifest(snapshot.tree).entries}
    assert (modes["a.py"], modes["d/b.sh"]) == (0o644, 0o755)


def test_ignore_files_are_read_as_git_reads_them(trees: DirectoryTrees, write: Write):
    root = write({
        ".gitignore": "*.ckpt\n/data\nbuild/\n",
        ".zenkeiignore": "notes\n!kept.ckpt\n",
        ".git/info/exclude": "scratch\n",
        "train.py": "", "a.ckpt": "", "kept.ckpt": "", "scratch": "", "notes": "",
        "data/x": "", "sub/data/x": "", "build/x": "", "sub/build/x": "",
        "sub/.gitignore": "*.tmp\n!a.ckpt\n", "sub/a.ckpt": "", "sub/b.tmp": "", "c.tmp": "",
    })  # fmt: skip
    assert paths(trees, trees.snapshot(root, CodeRequest())) == {
        ".gitignore", ".zenkeiignore", "train.py", "kept.ckpt", "c.tmp",
        "sub/.gitignore", "sub/a.ckpt", "sub/data/x",
    }  # fmt: skip


def test_a_part_of_a_repository_obeys_the_ignore_files_above_it(
    trees: DirectoryTrees, write: Write
):
    root = write({
        ".git/info/exclude": "/project/private\n",
        ".gitignore": "*.ckpt\n/project/data\n",
        "project/a.ckpt": "", "project/data/x": "", "project/private": "", "project/t.py": "",
    })  # fmt: skip
    assert paths(trees, trees.snapshot(root / "project", CodeRequest())) == {"t.py"}


def test_include_and_exclude_of_the_job_file(trees: DirectoryTrees, write: Write):
    root = write({".gitignore": "*.log\n", "src/a.py": "", "src/b.log": "", "docs/c": "", "d": ""})
    only = trees.snapshot(root, CodeRequest(include=("src", "/d")))
    assert paths(trees, only) == {"src/a.py", "d"}
    without = trees.snapshot(root, CodeRequest(exclude=("docs", "*.py")))
    assert paths(trees, without) == {".gitignore", "d"}


def test_what_never_should_travel_stays_and_is_said(
    trees: DirectoryTrees, write: Write, monkeypatch: pytest.MonkeyPatch
):
    root = write({
        "train.py": "", ".env": "TOKEN=1", ".env.local": "", ".env.example": "TOKEN=",
        "id_rsa": "", "id_ed25519.pub": "", "tls/server.pem": KEY, "tls/ca.pem": CERTIFICATE,
        "tls/x.key": KEY.replace("OPENSSH", "RSA"), "odd-name": KEY, "public.key": "a map's key",
        ".git/config": "", "a/__pycache__/x.pyc": "", "b/__pycache__/y.pyc": "",
        "my-venv/pyvenv.cfg": "", "my-venv/bin/python": "", "conda/conda-meta/history": "",
        "web/node_modules/x/y.js": "",
    })  # fmt: skip
    os.mkfifo(root / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(root)  # a socket's path must be short
        listener.bind("s")
    snapshot = trees.snapshot(root, CodeRequest())
    assert paths(trees, snapshot) == {
        "train.py", ".env.example", "id_ed25519.pub", "tls/ca.pem", "public.key",
    }  # fmt: skip
    assert set(out(snapshot)) == {
        ".env", ".env.local", "id_rsa", "tls/server.pem", "tls/x.key", "odd-name", ".git",
        "__pycache__", "my-venv", "conda", "web/node_modules", "pipe", "s",
    }  # fmt: skip
    assert out(snapshot)["pipe"] == "a named pipe"
    assert "zenkei secret set" in out(snapshot)[".env"]


def test_a_key_that_is_asked_for_by_name_travels(trees: DirectoryTrees, write: Write):
    root = write({".zenkeiignore": "!test.pem\n!.env\n", "test.pem": KEY, "b.pem": KEY, ".env": ""})
    snapshot = trees.snapshot(root, CodeRequest())
    assert paths(trees, snapshot) == {".zenkeiignore", "test.pem", ".env"}
    assert set(out(snapshot)) == {"b.pem"}


def test_zenkeis_own_home_does_not_travel(write: Write):
    root = write({"a": "x", "state/blobs/": "", "state/db.sqlite3": "x"})
    home = root / "state"
    trees = DirectoryTrees(DirectoryBlobs(home / "blobs"), state=home, homes=[home])
    snapshot = trees.snapshot(root, CodeRequest())
    assert paths(trees, snapshot) == {"a"}
    assert out(snapshot) == {"state": "zenkei's own state"}


def test_a_home_that_is_not_the_one_in_use_does_not_travel(trees: DirectoryTrees, write: Write):
    root = write(
        {"a": "x", "old/state.lock": "", "old/db.sqlite3": "x", "own/state.lock": "", "own/b": "x"}
    )
    (root / "old" / "python").symlink_to("/etc/passwd")
    snapshot = trees.snapshot(root, CodeRequest())
    assert paths(trees, snapshot) == {"a", "own/state.lock", "own/b"}
    assert out(snapshot) == {"old": "zenkei's own state"}


@pytest.mark.parametrize("target", ["/etc/passwd", "../../x", "../in/../.."])
def test_a_link_out_of_the_tree_is_refused_by_name(
    trees: DirectoryTrees, write: Write, target: str
):
    root = write({"in/a": "", "in/out": Path(target), "in/good": Path("a")})
    with pytest.raises(InvalidInput, match="`in/out` points out of the tree") as caught:
        trees.snapshot(root, CodeRequest())
    assert "zenkeiignore" in caught.value.hint
    trees.snapshot(root, CodeRequest(exclude=("in/out",)))


def test_names_may_be_any_bytes(trees: DirectoryTrees, tmp_path: Path):
    root = os.fsencode(tmp_path / "work")
    os.makedirs(root + b"/\xff\xfe dir")
    names = [
        b"\xff\xfe dir/\x80",
        b"line\nbreak",
        b"\x1b[31m",
        "計算".encode(),
        b"a b'\"\\",
        b"-rf",
    ]
    for name in names:
        with open(root + b"/" + name, "wb") as file:
            file.write(name)
    snapshot = trees.snapshot(tmp_path / "work", CodeRequest())
    trees.checkout(snapshot.tree, tmp_path / "copy")
    assert listing(tmp_path / "copy") == listing(tmp_path / "work")


def test_only_changed_files_are_stored_again(trees: DirectoryTrees, write: Write):
    root = write({f"f{n}": f"content {n}" for n in range(10)})
    first = trees.snapshot(root, CodeRequest())
    (root / "f3").write_text("changed")
    second = trees.snapshot(root, CodeRequest())
    assert (first.stored, second.stored) == (10, 1)
    assert first.tree != second.tree


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths of the files whose contents are read."""
    seen: list[str] = []

    class Watched(contents._Source):
        def __init__(self, chain, path):
            seen.append(path)
            super().__init__(chain, path)

    monkeypatch.setattr(contents, "_Source", Watched)
    return seen


@pytest.mark.usefixtures("aged")
def test_unchanged_files_are_not_read_again(trees: DirectoryTrees, write: Write, reads: list[str]):
    root = write({f"f{n}": f"content {n}" for n in range(10)})
    first = trees.snapshot(root, CodeRequest())
    assert len(reads) == 10
    reads.clear()
    (root / "f3").write_text("changed 3")
    second = trees.snapshot(root, CodeRequest())
    assert reads == ["f3"]
    assert trees.snapshot(root, CodeRequest()).tree == second.tree != first.tree
    assert reads == ["f3"]


def test_a_file_just_written_is_read_again_because_its_stamps_prove_nothing(
    trees: DirectoryTrees, write: Write, reads: list[str]
):
    root = write({"a": "one"})
    trees.snapshot(root, CodeRequest())
    trees.snapshot(root, CodeRequest())
    assert reads == ["a", "a"]


@pytest.mark.usefixtures("aged")
def test_a_write_that_restores_size_and_mtime_is_noticed(trees: DirectoryTrees, write: Write):
    root = write({"a": "one"})
    first = trees.snapshot(root, CodeRequest())
    before = (root / "a").stat()
    (root / "a").write_text("two")
    os.utime(root / "a", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert trees.snapshot(root, CodeRequest()).tree != first.tree


@pytest.mark.usefixtures("aged")
@pytest.mark.parametrize("damage", [b"", b"garbage", b"x" * 64 + b"\n{}"])
def test_a_damaged_cache_costs_time_only(
    trees: DirectoryTrees, blobs: DirectoryBlobs, write: Write, damage: bytes
):
    root = write({"a": "one"})
    first = trees.snapshot(root, CodeRequest())
    (cache,) = (blobs.root / "stat").iterdir()
    cache.write_bytes(damage)
    assert trees.snapshot(root, CodeRequest()).tree == first.tree


@pytest.mark.usefixtures("aged")
def test_what_was_collected_meanwhile_is_stored_again(
    trees: DirectoryTrees, blobs: DirectoryBlobs, write: Write
):
    root = write({"a": "one", "b": "two"})
    first = trees.snapshot(root, CodeRequest())
    for digest, _ in list(blobs.digests()):
        blobs.delete(digest)
    again = trees.snapshot(root, CodeRequest())
    assert (again.tree, again.stored) == (first.tree, 2)
    assert [blobs.get(e.digest) for e in trees.manifest(first.tree).entries] == [b"one", b"two"]


class Meddler:
    """Does something to a file each time it has been read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, act, times: int) -> None:
        self.left = times
        real = contents._Source.read

        def read(source, count: int) -> bytes:
            content = real(source, count)
            if self.left:
                self.left -= 1
                act()
            return content

        monkeypatch.setattr(contents._Source, "read", read)


@pytest.mark.parametrize("size", [10, 2 << 20])
def test_a_file_that_changes_while_it_is_read_is_read_again(
    trees: DirectoryTrees, blobs: DirectoryBlobs, write: Write,
    monkeypatch: pytest.MonkeyPatch, size: int,
):  # fmt: skip
    root = write({"a": bytes(size)})
    Meddler(monkeypatch, lambda: (root / "a").write_bytes(b"x" * (size + 1)), times=1)
    (entry,) = trees.manifest(trees.snapshot(root, CodeRequest()).tree).entries
    assert blobs.get(entry.digest) == b"x" * (size + 1)


def test_a_file_that_never_rests_is_named(
    trees: DirectoryTrees, write: Write, monkeypatch: pytest.MonkeyPatch
):
    root = write({"logs/run.log": "x"})

    def append() -> None:
        with (root / "logs/run.log").open("a") as file:
            file.write("more")

    Meddler(monkeypatch, append, times=100)
    with pytest.raises(InvalidInput, match=r"`logs/run\.log` changes while it is read"):
        trees.snapshot(root, CodeRequest())


def test_a_directory_swapped_for_a_link_leads_nowhere(
    trees: DirectoryTrees, write: Write, monkeypatch: pytest.MonkeyPatch
):
    root = write({"a/first": "x", "z/passwd": "mine"})

    def swap() -> None:
        os.rename(root / "z", root / "z-old")
        os.symlink("/etc", root / "z")

    Meddler(monkeypatch, swap, times=1)
    with pytest.raises(InvalidInput, match="z/passwd"):
        trees.snapshot(root, CodeRequest())


def test_a_file_that_vanishes_is_named(
    trees: DirectoryTrees, write: Write, monkeypatch: pytest.MonkeyPatch
):
    root = write({"a": "x", "b": "y"})
    Meddler(monkeypatch, (root / "b").unlink, times=1)
    with pytest.raises(InvalidInput, match="`b` vanished"):
        trees.snapshot(root, CodeRequest())


def test_too_many_and_too_large_name_what_it_is(blobs: DirectoryBlobs, write: Write):
    root = write({f"data/{n}": "x" * 1000 for n in range(20)} | {"big": "y" * 50_000})

    def limited(limits: Limits) -> DirectoryTrees:
        return DirectoryTrees(blobs, state=blobs.root, limits=limits)

    with pytest.raises(InvalidInput, match=r"more than 10 files; most of them in data \(20\)"):
        limited(Limits(files=10)).snapshot(root, CodeRequest())
    with pytest.raises(InvalidInput, match="the largest files: big") as caught:
        limited(Limits(size_bytes=60_000)).snapshot(root, CodeRequest())
    assert "zenkeiignore" in caught.value.hint
    snapshot = limited(Limits(files=21, size_bytes=70_000)).snapshot(root, CodeRequest())
    assert snapshot.largest[0] == ("big", 50_000)


def test_a_tree_too_deep_is_refused_by_name(trees: DirectoryTrees, tmp_path: Path):
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(300):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    with pytest.raises(InvalidInput, match="directories deep"):
        trees.snapshot(tmp_path / "d", CodeRequest())


@pytest.mark.parametrize("name", ["missing", "file"])
def test_a_root_that_is_no_directory(trees: DirectoryTrees, write: Write, name: str):
    root = write({"file": ""})
    with pytest.raises(InvalidInput, match="is not a directory"):
        trees.snapshot(root / name, CodeRequest())


@pytest.mark.usefixtures("aged")
def test_the_cache_is_private(trees: DirectoryTrees, blobs: DirectoryBlobs, write: Write):
    trees.snapshot(write({"a": ""}), CodeRequest())
    (cache,) = (blobs.root / "stat").iterdir()
    assert stat.S_IMODE(cache.stat().st_mode) == 0o600
