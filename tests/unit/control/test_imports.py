"""Logs and metrics of imported jobs are read as those of jobs that ran here."""

from __future__ import annotations

import pytest

from zenkei.control import imports
from zenkei.control.imports import ORIGIN, Imports, part_path
from zenkei.model.data import Digest, Entry, EntryKind, Manifest
from zenkei.model.errors import NotFound
from zenkei.model.ids import AttemptId, JobId
from zenkei.sim.doubles import BlobsDouble, TreesDouble

TREE = Digest("b3:" + "0" * 64)
ATTEMPT = AttemptId(JobId(1), 2)
LOG = bytes(range(25))


class Trees(TreesDouble):
    def __init__(self, *entries: Entry) -> None:
        self.entries = entries

    def manifest(self, tree: Digest) -> Manifest:
        return Manifest(digest=tree, entries=self.entries, size_bytes=0)


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Imports:
    """Parts of ten bytes."""
    monkeypatch.setattr(imports, "PART_BYTES", 10)
    blobs = BlobsDouble()
    contents = {part_path(2, "log/0", at // 10): LOG[at : at + 10] for at in (0, 10, 20)}
    contents[part_path(2, "metrics/0", 0)] = b"0123456789"
    contents[ORIGIN] = b'{"job":"42"}'
    entries = [
        Entry(path=path, kind=EntryKind.FILE, digest=blobs.put(content))
        for path, content in contents.items()
    ]
    return Imports(blobs, Trees(*entries))


@pytest.mark.parametrize("offset", [0, 3, 9, 10, 11, 20, 24, 25, 26, 30, 1000])
@pytest.mark.parametrize("size", [1, 5, 10, 11, 25, 1000])
def test_any_slice_of_a_stream_is_that_of_the_whole(kept: Imports, offset: int, size: int) -> None:
    assert kept.read(TREE, ATTEMPT, "log/0", offset, size) == LOG[offset : offset + size]


def test_a_stream_may_end_with_a_part(kept: Imports) -> None:
    assert kept.read(TREE, ATTEMPT, "metrics/0", 4, 100) == b"456789"
    assert kept.read(TREE, ATTEMPT, "metrics/0", 10, 100) == b""


def test_a_stream_that_was_not_kept_is_empty(kept: Imports) -> None:
    assert kept.read(TREE, ATTEMPT, "log/1", 0, 100) == b""
    assert kept.read(TREE, AttemptId(JobId(1), 1), "log/0", 0, 100) == b""
    assert kept.read(TREE, ATTEMPT, "stacks/0", 0, 100) == b""


def test_where_it_ran_is_known_or_said_to_be_lost(kept: Imports) -> None:
    assert kept.origin(TREE) == {"job": "42"}
    with pytest.raises(NotFound, match="does not say where"):
        Imports(BlobsDouble(), Trees()).origin(TREE)
