"""Comparisons in a process of their own: over a real store, whatever happens to either."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest

from zenkei.data.blobs_dir import DirectoryBlobs
from zenkei.data.compare import child
from zenkei.data.compare.child import ChildComparer
from zenkei.data.digests import to_raw
from zenkei.data.manifest import canonical
from zenkei.model.data import Digest, Entry, EntryKind
from zenkei.model.errors import InternalError, NotFound, Unavailable
from zenkei.model.verdict import Finding, Tolerance, Verdict
from zenkei.ports.comparing import Left
from zenkei.protocol import metrics as wire


class Store:
    """A real one; `left` is what a job has left."""

    def __init__(self, folder: Path) -> None:
        self.blobs = DirectoryBlobs(folder / "blobs")
        self.comparer = ChildComparer(self.blobs, folder / "tmp")

    def tree(self, **files: bytes) -> Digest:
        entries = [
            Entry(
                path=path.replace("_", "."),
                kind=EntryKind.FILE,
                size_bytes=len(content),
                digest=self.blobs.put(content),
            )
            for path, content in files.items()
        ]
        return self.blobs.put(canonical(entries))

    def left(self, loss: float = 1.0, **files: bytes) -> Left:
        stream = wire.encode_name("loss")
        stream += wire.encode_point(1, 7, loss, wire.name_key("loss"))

        def read(offset: int, limit: int) -> bytes:
            return stream[offset : offset + limit]

        return Left(output=self.tree(**files), metrics={(0, 1): read})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def npy(size: int, value: float = 0.0) -> bytes:
    file = io.BytesIO()
    np.save(file, np.full(size, value))
    return file.getvalue()


def test_the_verdict_over_metrics_and_files_names_the_metric_first(store):
    a = store.left(1.0, big_npy=npy(200_000), small_npy=npy(3))
    b = store.left(2.0, big_npy=npy(200_000, 1.0), small_npy=npy(3))
    found = store.comparer.compare(a, b, Tolerance())
    assert found.verdict is Verdict.DIFFERENT
    assert found.first is not None
    assert (found.first.kind, found.first.name, found.first.step) == ("metric", "loss", 7)
    assert [(d.kind, d.name, d.where) for d in found.others] == [("file", "big.npy", "[0]")]
    assert (found.metrics, found.points, found.files) == (1, 1, 2)
    assert not any((store.blobs.root.parent / "tmp").iterdir())


def test_the_same_is_identical_and_a_tolerance_reaches_the_process(store):
    a, b = store.left(1.0, x_npy=npy(3)), store.left(1.0 + 1e-9, x_npy=npy(3))
    assert store.comparer.compare(a, a, Tolerance()).verdict is Verdict.IDENTICAL
    close = Tolerance(named=(("lo*", 1e-6),))
    assert store.comparer.compare(a, b, close).verdict is Verdict.WITHIN
    assert store.comparer.compare(a, b, Tolerance(ignored=("loss",))).metrics == 0


def test_a_damaged_content_is_no_difference_but_an_error(store):
    a, b = store.left(x_npy=npy(200_000)), store.left(x_npy=npy(200_000, 1.0))
    path = store.blobs.object_path(to_raw(store.blobs.put(npy(200_000, 1.0))))
    path.chmod(0o600)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(InternalError, match="no longer has its digest"):
        store.comparer.compare(a, b, Tolerance())


def test_a_missing_content_is_said_to_be_missing(store):
    a, b = store.left(x_npy=npy(3)), store.left(x_npy=npy(3, 1.0))
    store.blobs.delete(store.blobs.put(npy(3, 1.0)))
    with pytest.raises(NotFound, match="is not in the store"):
        store.comparer.compare(a, b, Tolerance())


def test_a_process_that_dies_or_takes_too_long_gives_no_verdict(store, monkeypatch, tmp_path):
    a = store.left()
    dies = tmp_path / "dies"
    dies.write_text("#!/bin/sh\nkill -9 $$\n")
    dies.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(dies))
    with pytest.raises(Unavailable, match="it ended with -9"):
        store.comparer.compare(a, a, Tolerance())
    sleeps = tmp_path / "sleeps"
    sleeps.write_text("#!/bin/sh\nexec sleep 60\n")
    sleeps.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(sleeps))
    monkeypatch.setattr(child, "MOST_S", 0.2)
    with pytest.raises(Unavailable, match="it was ended after"):
        store.comparer.compare(a, a, Tolerance())


def test_checkpoints_are_named_until_findings_are_given_infinities_included(store):
    a, b = store.left(m_pt=b"PK\x03\x041"), store.left(m_pt=b"PK\x03\x042")
    found = store.comparer.compare(a, b, Tolerance())
    assert (found.torch, found.verdict) == (("m.pt",), Verdict.IDENTICAL)
    finding = Finding(verdict=Verdict.DIFFERENT, where="w[0]", relative=float("inf"))
    seen = store.comparer.compare(a, b, Tolerance(), {"m.pt": finding})
    assert seen.first is not None
    assert (seen.first.where, seen.first.relative, seen.torch) == ("w[0]", None, ())


def test_a_job_that_looks_into_checkpoints_gets_both_versions_and_the_question(store):
    a, b = store.tree(m_pt=b"one", x_npy=b"no"), store.tree(m_pt=b"two", x_npy=b"no")
    tree = store.comparer.torch_job(a, b, {"m.pt": 0.5})
    assert store.comparer.torch_job(a, b, {"m.pt": 0.5}) == tree
    assert store.comparer.torch_job(a, b, {"m.pt": 0.1}) != tree
    changes = store.comparer.code(Digest(""), tree)
    assert [change.path for change in changes] == ["a/m.pt", "b/m.pt", "look.py", "question.json"]
    assert changes[0].diff.endswith("+one\n\\ No newline at end of file\n")
