"""The process that works on versions: one request in, lines out, an exit code."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from pathlib import Path

import pytest

from tests.dataset_trees import Place, ended, in_process, read_tree, write_tree
from tests.testbeds.small_disk import given_or_small_disk

CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, PR_CAPBSET_DROP = 1, 2, 24


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(folder=tmp_path)


def test_a_commit_and_an_export_by_lines_of_json(place: Place):
    tree = {b"a": b"1", b"\xff": b"2"}
    write_tree(place.source, tree)
    asked = {"do": "commit", "depot": place.depot, "source": str(place.source)}
    code, said, err = ended(in_process(asked))
    assert (code, err) == (0, "")
    assert {*said[-1]["ok"]} == {
        "digest", "files", "size_bytes", "stored_bytes", "new_files", "unchanged_files", "links",
        "left_out",
    }  # fmt: skip
    assert all([*line] == ["progress"] for line in said[:-1])
    out = place.folder / "out"
    digest = said[-1]["ok"]["digest"]
    asked = {"do": "export", "depot": place.depot, "digest": digest, "to": str(out)}
    assert ended(in_process(asked))[0] == 0
    assert read_tree(out) == tree


@pytest.mark.parametrize("asked", [{}, {"do": "dance"}, {"do": "commit"}, {"do": "list", "x": 1}])
def test_a_request_that_cannot_be_is_told(asked: dict[str, object]):
    code, said, err = ended(in_process(asked))
    assert (code, err) == (1, "")
    assert said[-1]["error"]["code"] == "bad-request"


def test_an_error_has_code_message_and_hint(place: Place):
    asked = {"do": "list", "depot": place.depot, "digest": "b3:" + "0" * 64}
    code, said, _ = ended(in_process(asked))
    assert code == 1
    assert said[-1]["error"]["code"] == "no-such-version"
    assert said[-1]["error"]["hint"]


def test_told_to_end_it_ends_with_its_workers_and_leaves_nothing(place: Place):
    place.source.mkdir()
    for number in range(20):
        with (place.source / str(number)).open("wb") as file:
            file.truncate(60 << 20)
            file.write(b"%d" % number)
    process = in_process({"do": "commit", "depot": place.depot, "source": str(place.source)})
    while not place.packs() if (place.folder / "depot" / "packs").exists() else True:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    code, _, err = ended(process)
    assert (code, err) == (1, "")
    assert os.listdir(place.folder / "depot" / "versions") == []
    assert os.listdir(place.folder / "depot" / "intents") == []


def test_a_full_disk_is_told_and_the_next_try_with_space_succeeds(tmp_path: Path):
    place = Place(folder=tmp_path)
    write_tree(place.source, {b"%d" % n: os.urandom(100_000) for n in range(60)})
    with given_or_small_disk(tmp_path / "depot", 6 << 20) as disk:
        (disk / "in the way").write_bytes(bytes(2 << 20))
        asked = {"do": "commit", "depot": f"file:{disk}", "source": str(place.source)}
        code, said, err = ended(in_process(asked))
        assert (code, err) == (1, "")
        assert said[-1]["error"]["code"] == "disk-full"
        assert os.listdir(disk / "versions") == []
        (disk / "in the way").unlink()
        small = {**asked, "exclude": ["1*", "2*", "3*"]}
        code, said, _ = ended(in_process(small))
        assert code == 0
        check = {"do": "verify", "depot": f"file:{disk}", "deep": True}
        code, said, _ = ended(in_process({**check, "digests": [said[-1]["ok"]["digest"]]}))
        assert said[-1]["ok"]["damaged"] == []


def test_an_export_that_fills_the_disk_says_so_and_leaves_nothing(tmp_path: Path):
    place = Place(folder=tmp_path)
    digest = place.commit({b"%d" % n: os.urandom(100_000) for n in range(60)})["digest"]
    with given_or_small_disk(tmp_path / "disk", 4 << 20) as disk:
        asked = {"do": "export", "depot": place.depot, "digest": digest, "to": str(disk / "out")}
        code, said, err = ended(in_process(asked))
        assert (code, err) == (1, "")
        assert said[-1]["error"]["code"] == "disk-full"
        assert not [name for name in os.listdir(disk) if "out" in name]


def without_roots_privilege() -> None:
    """Of the process that is about to start: modes count for it, also if it is root's."""
    for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
        ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability)


@pytest.mark.parametrize("mode", [0o000, 0o600])
def test_a_directory_that_cannot_be_read_ends_the_commit_and_is_named(place: Place, mode: int):
    write_tree(place.source, {b"ok/a": b"1", b"closed/b": b"2"})
    (place.source / "closed").chmod(mode)
    asked = {"do": "commit", "depot": place.depot, "source": str(place.source)}
    code, said, err = ended(in_process(asked, preexec_fn=without_roots_privilege))
    (place.source / "closed").chmod(0o700)
    assert (code, err) == (1, "")
    assert said[-1]["error"]["message"] == "`closed` cannot be read: Permission denied"
