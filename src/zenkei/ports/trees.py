"""Directories to manifests and back: code travels in, results are kept; implemented by `data`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from zenkei.model.data import Digest, Manifest
from zenkei.model.ids import JobId
from zenkei.model.job import CodeRequest


@dataclass(frozen=True, kw_only=True, slots=True)
class LeftOut:
    """A path that did not travel although nobody asked for that, and why (a key, a venv)."""

    path: str
    why: str
    usual: bool = False
    """Nobody expects it to travel: not worth a warning."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """A working tree as stored. source: digest of a JSON document with git's commit, branch, remote

    (without credentials) and the digest of the diff. stored: files whose content was new.
    largest: (path, bytes) of the largest files, for the size warning.
    """

    tree: Digest
    source: Digest
    files: int
    size_bytes: int
    stored: int
    left_out: tuple[LeftOut, ...] = ()
    largest: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """A file or directory `path` below the directory `place`, as a node left it."""

    node: int
    path: str
    place: Path


class Trees(Protocol):
    """All methods do I/O; none is called inside a transaction."""

    def snapshot(self, root: Path, request: CodeRequest) -> Snapshot:
        """Store a working tree. Raises InvalidInput: links that leave it, vanishing files, …"""

    def manifest(self, tree: Digest) -> Manifest:
        """Raises NotFound."""

    def checkout(self, tree: Digest, to: Path) -> None:
        """Make `to` (absent or empty) the tree's exact copy; atomic: absent or complete."""

    def seal(self, places: tuple[Path, ...]) -> tuple[Digest, int, int]:
        """Store the output directories of an attempt's nodes as one manifest: digest, files, bytes.

        The first node's files stand at the top; files of node k > 0 below `node-<k>/`, if it has
        any. Links are stored as links and never followed; what cannot be read raises InvalidInput
        with its path (the result is then incomplete, with that reason).
        """

    def gather(self, pieces: tuple[Piece, ...]) -> tuple[Digest, int, int]:
        """Store the pieces of a checkpoint as one manifest: digest, files, bytes.

        Names stay as they are, so that pieces of several nodes make one tree; a node's piece whose
        names mean something else already stands below `node-<rank>/`. Raises InvalidInput for what
        cannot be read, is neither file nor directory, or links to somewhere outside.
        """


class Checkpoints(Protocol):
    """Where checkpoints are kept, by job."""

    def trees(self, job: JobId) -> Trees: ...

    def sweep(self, job: JobId, keep: frozenset[Digest]) -> int:
        """Remove what none of these manifests of the job refers to; bytes freed.

        The caller stores nothing of that job meanwhile.
        """
