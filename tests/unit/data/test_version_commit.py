"""What a commit stores, what it knows without reading, and what it does not take."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.dataset_trees import Place, age, read_tree, write_tree
from zenkei.data.versions import commit as commit_module
from zenkei.data.versions import keeper, reading, state
from zenkei.data.versions.workers import FORK
from zenkei.model.errors import InvalidInput, Unavailable

PIECES = 64 << 20


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(folder=tmp_path)


@pytest.fixture
def old_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if everything had been there for longer than two seconds."""
    monkeypatch.setattr(state, "RACY_NS", -(10**18))


def sorted_out(done: dict[str, Any]) -> dict[str, str]:
    return {item["path"]: item["why"] for item in done["left_out"]}


def test_a_second_commit_reads_only_what_has_changed(place: Place, old_files: None):
    first = place.commit({b"a": b"1", b"d/b": b"2", b"d/c": b"3", b"e/f": b"4"})
    (place.source / "d" / "b").write_bytes(b"22")
    (place.source / "d" / "new").write_bytes(b"5")
    (place.source / "a").unlink()
    second = place.commit()
    assert (first["new_files"], first["unchanged_files"]) == (4, 0)
    assert (second["new_files"], second["unchanged_files"]) == (2, 2)
    assert read_tree(place.export(second["digest"])) == {
        b"d/b": b"22", b"d/c": b"3", b"d/new": b"5", b"e/f": b"4",
    }  # fmt: skip
    assert read_tree(place.export(first["digest"], "first"))[b"a"] == b"1"


def test_an_unchanged_directory_is_the_same_version_and_stores_nothing(
    place: Place, old_files: None
):
    first = place.commit({b"a": b"1", b"d/b": b"2"})
    again = place.commit()
    assert (again["digest"], again["stored_bytes"], again["new_files"]) == (first["digest"], 0, 0)


def rewritten(file: Path) -> None:
    """Other content, the same size and time."""
    before = file.stat()
    file.write_bytes(b"B" * before.st_size)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def replaced(file: Path) -> None:
    """Another file of the same size and time moved over it."""
    before = file.stat()
    other = file.with_name("other")
    other.write_bytes(b"B" * before.st_size)
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.rename(file)


def swapped(file: Path) -> None:
    """It changes names with another one of the same size and time."""
    before = file.stat()
    other = file.with_name("twin")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.rename(file.with_name("x"))
    file.rename(other)
    file.with_name("x").rename(file)


@pytest.mark.parametrize("deceive", [rewritten, replaced, swapped])
def test_a_change_that_keeps_size_and_time_is_seen(place: Place, old_files: None, deceive: Any):
    place.commit({b"d/file": b"AAAA", b"d/twin": b"BBBB"})
    deceive(place.source / "d" / "file")
    second = place.commit()
    assert read_tree(place.export(second["digest"]))[b"d/file"] == b"BBBB"


def test_what_was_written_just_before_a_commit_is_read_again(place: Place):
    place.commit({b"a": b"1"})
    assert place.commit()["new_files"] == 1


def test_a_damaged_state_costs_time_and_nothing_else(place: Place, old_files: None):
    first = place.commit({b"a": b"1"})
    file = place.folder / "state"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    again = place.commit()
    assert (again["digest"], again["new_files"], again["stored_bytes"]) == (first["digest"], 1, 0)


def test_the_state_of_another_depot_is_not_believed(place: Place, old_files: None):
    place.commit({b"a": b"1"})
    elsewhere = f"file:{place.folder}/other"
    assert place.commit(depot=elsewhere)["stored_bytes"] > 0


def test_content_that_the_depot_lost_is_stored_again(place: Place, old_files: None):
    first = place.commit({b"a": b"1", b"b": b"2"})
    for pack in place.packs():
        pack.unlink()
    again = place.commit()
    assert (again["digest"], again["new_files"]) == (first["digest"], 2)
    assert place.faults(first["digest"]) == []


def test_a_new_directory_shares_what_a_version_named_by_the_caller_has(place: Place):
    first = place.commit({b"a": b"1" * 1000, b"b": b"2" * 1000})
    write_tree(place.folder / "other", {b"c": b"1" * 1000, b"d": b"3" * 100})
    other = str(place.folder / "other")
    second = place.commit(source=other, state=None, against=[first["digest"]])
    assert second["stored_bytes"] == 512
    assert read_tree(place.export(second["digest"]))[b"c"] == b"1" * 1000


def test_equal_files_are_stored_once(place: Place):
    place.source.mkdir()
    for number in range(50):
        (place.source / str(number)).write_bytes(b"same" * 1000)
    os.link(place.source / "0", place.source / "hard link")
    done = place.commit()
    assert (done["files"], done["stored_bytes"]) == (51, 4096)


def test_names_of_any_bytes_links_and_empty_directories_travel(place: Place):
    tree = {
        b"\xff\xfe": b"1", "日本".encode(): b"2", b"new\nline": b"3", b"-rf": b"#!4",
        b"n" * 255: b"", b"empty/inner": None, b"to": ("link", b"\xff\xfe"),
        b"dangling": ("link", b"nowhere"), b"d/up": ("link", b"../to"),
    }  # fmt: skip
    done = place.commit(tree)
    assert (done["links"], done["files"]) == (3, 5)
    assert read_tree(place.export(done["digest"])) == tree


def test_what_is_neither_file_nor_directory_and_links_that_lead_out_are_left_out(
    place: Place, monkeypatch: pytest.MonkeyPatch
):
    place.source.mkdir()
    monkeypatch.chdir(place.source)  # a socket's name must be short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
    os.mkfifo("pipe")
    tree = {
        b"out": ("link", b"../.."),
        b"abs": ("link", b"/etc"),
        b"only/out": ("link", b"../../x"),
    }
    done = place.commit({**tree, b"a": b"1"})
    leaves = "a link that leads out of the dataset"
    assert sorted_out(done) == {
        "socket": "a socket", "pipe": "a named pipe", "out": leaves, "abs": leaves,
        "only/out": leaves,
    }  # fmt: skip
    assert read_tree(place.export(done["digest"])) == {b"a": b"1", b"only": None}


def test_what_is_excluded_does_not_travel(place: Place):
    tree = {b"a.tmp": b"1", b"d/b.tmp": b"2", b"cache/x": b"3", b"d/keep": b"4"}
    done = place.commit(tree, exclude=["*.tmp", "/cache/"])
    assert read_tree(place.export(done["digest"])) == {b"d/keep": b"4"}


def test_a_file_larger_than_a_pack_lies_in_pieces(place: Place):
    place.source.mkdir()
    with (place.source / "sparse").open("wb") as file:
        file.truncate(3 * PIECES + 1000)
        file.seek(PIECES + 5)
        file.write(b"data")
    done = place.commit({b"small": b"1"})
    assert done["size_bytes"] == 3 * PIECES + 1001
    assert done["stored_bytes"] < 3 * PIECES  # two pieces of it are nothing but zeros
    out = place.export(done["digest"])
    assert os.system(f"cmp {out}/sparse {place.source}/sparse") == 0
    assert place.faults(done["digest"]) == []


def test_more_than_a_pack_of_small_files_fills_several(place: Place, monkeypatch: Any):
    monkeypatch.setattr(reading, "CUT_BYTES", 1 << 14)
    monkeypatch.setattr(reading, "MIN_UNIT_BYTES", 1 << 12)
    tree = {b"d%d/f%d" % (n % 7, n): b"%d" % n * (n * 10) for n in range(100)}
    done = place.commit(tree)
    assert len(place.packs()) > 5
    assert read_tree(place.export(done["digest"])) == tree


def test_a_file_that_never_stays_the_same_while_it_is_read_is_named(
    place: Place, monkeypatch: pytest.MonkeyPatch
):
    file = write_tree(place.source, {b"log": b"line", b"other": b"1"}) / "log"
    real = reading.Reader._fill

    def interleaved(self: reading.Reader, descriptor: int, target: memoryview) -> bool:
        filled = real(self, descriptor, target)
        with file.open("ab") as writing:  # by somebody else, at the worst instant
            writing.write(b"another line")
        return filled

    monkeypatch.setattr(reading.Reader, "_fill", interleaved)
    with pytest.raises(InvalidInput) as caught:
        place.commit()
    assert caught.value.code == "file-changes"
    assert "log" in caught.value.message
    assert "--exclude" in caught.value.hint


def test_a_source_that_is_no_directory_is_refused(place: Place):
    with pytest.raises(InvalidInput) as caught:
        place.commit()
    assert caught.value.code == "not-a-directory"


def test_an_empty_directory_is_a_version_too(place: Place):
    done = place.commit({})
    assert (done["files"], done["size_bytes"]) == (0, 0)
    assert read_tree(place.export(done["digest"])) == {}


def test_by_reference_nothing_is_read_and_a_change_of_time_is_another_version(place: Place):
    first = place.commit({b"d/a": b"1", b"b": b"2"}, reference=True)
    again = place.commit(reference=True)
    os.utime(place.source / "b", (1, 1))
    third = place.commit(reference=True)
    assert first["digest"] == again["digest"] != third["digest"]
    assert (first["files"], first["stored_bytes"]) == (2, 0)
    assert place.packs() == []
    with pytest.raises(InvalidInput) as caught:
        place.export(first["digest"])
    assert caught.value.code == "by-reference"
    assert str(place.source) in caught.value.hint


@pytest.mark.root
@pytest.mark.skipif(os.getuid() != 0, reason="takes another user's part")
def test_a_file_that_may_not_be_read_is_named(short_tmp: Path):
    place = Place(folder=short_tmp)
    write_tree(place.source, {b"open": b"1", b"d/shut": b"2"})
    (place.source / "d" / "shut").chmod(0o600)
    for folder in (short_tmp, *short_tmp.parents):
        if folder.stat().st_mode & 0o5 != 0o5:
            folder.chmod(0o755)
    (short_tmp / "depot").mkdir(mode=0o777)
    (short_tmp / "depot").chmod(0o777)
    mine, theirs = FORK.Pipe()

    def as_nobody() -> None:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        try:
            place.commit(state=None)
        except InvalidInput as error:
            theirs.send((error.code, error.message))

    process = FORK.Process(target=as_nobody)
    process.start()
    theirs.close()
    code, message = mine.recv()
    process.join()
    assert code == "unreadable"
    assert "d/shut" in message


def test_old_times_are_no_reason_to_believe_a_file_that_was_just_written(place: Place):
    write_tree(place.source, {b"a": b"1"})
    age(place.source)  # mtime says an hour ago, ctime says now
    place.commit()
    assert place.commit()["new_files"] == 1


def test_content_that_is_removed_while_a_commit_runs_is_stored_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
):
    """As by a collection that took the commit, which slept, for dead."""
    real = commit_module._table

    def removing(*arguments: Any) -> Any:
        monkeypatch.setattr(commit_module, "_table", real)
        for pack in place.packs():
            pack.unlink()
        return real(*arguments)

    monkeypatch.setattr(commit_module, "_table", removing)
    done = place.commit({b"a": b"1", b"b": b"2"})
    assert place.faults(done["digest"]) == []


def test_a_version_of_which_something_is_gone_is_whole_after_the_same_commit(
    place: Place, old_files: None
):
    """The version is there already, but names other packs: the new one takes its place."""
    place.commit({b"a": b"1"})
    both = place.commit({b"b": b"2"})["digest"]
    assert len(place.packs()) == 2
    for pack in place.packs():
        pack.unlink()
    assert place.commit(state=None)["digest"] == both
    assert len(place.packs()) == 1
    assert place.faults(both) == []


def test_a_commit_that_fails_at_its_end_need_not_be_read_again(
    place: Place, old_files: None, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: Any) -> bool:
        raise Unavailable("disk-full", "no space", hint="make some")

    with monkeypatch.context() as patch:
        patch.setattr(keeper.Keeper, "put", full)
        with pytest.raises(Unavailable):
            place.commit({b"a": b"1", b"b/c": b"2"})
    done = place.commit()
    assert (done["new_files"], done["unchanged_files"], done["stored_bytes"]) == (0, 2, 0)
    assert read_tree(place.export(done["digest"])) == {b"a": b"1", b"b/c": b"2"}


def test_what_was_read_before_an_interruption_is_known_and_the_rest_is_read(
    place: Place, old_files: None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(reading, "MIN_UNIT_BYTES", 512)
    monkeypatch.setattr(commit_module, "KEEP_S", -1)
    tree = {b"%03d" % number: b"%d" % number * (number % 3) for number in range(100)}
    write_tree(place.source, tree)
    seen = 0

    def interrupted(what: str, done: int, total: int | None, size: int) -> None:
        nonlocal seen
        if what == "read" and done > 40:
            seen = seen or done
            raise KeyboardInterrupt

    asked = commit_module.Request(
        depot=place.depot, source=place.source, state=place.folder / "state", jobs=2
    )
    with pytest.raises(KeyboardInterrupt):
        commit_module.commit(asked, interrupted)
    done = place.commit()
    assert (done["unchanged_files"], done["new_files"]) == (seen, 100 - seen)
    assert read_tree(place.export(done["digest"])) == tree


def test_a_store_inside_the_directory_is_left_out(place: Place):
    write_tree(place.source, {b"a": b"1"})
    depot = place.source / "deep" / "depot"
    for _ in range(2):
        done = place.commit(depot=f"file:{depot}")
        assert sorted_out(done) == {"deep/depot": "the dataset store itself"}
        assert done["files"] == 1


def test_a_version_by_reference_is_looked_at_where_its_files_lie(place: Place):
    tree = {b"d/a": b"1", b"d/b": b"2", b"c": b"3"}
    digest = place.commit(tree, reference=True)["digest"]
    assert place.faults(digest) == []
    (place.source / "d" / "a").unlink()
    (place.source / "c").write_bytes(b"4")
    (fault,) = place.faults(digest)
    assert (set(fault["files"]), fault["count"]) == ({"c", "d/a"}, 2)
    place.source.rename(place.folder / "elsewhere")
    (fault,) = place.faults(digest)
    assert fault["count"] == 3
