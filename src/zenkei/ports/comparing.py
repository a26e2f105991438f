"""Comparison of what jobs left, outside of the daemon's process; implemented by `data.compare`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from zenkei.model.data import Digest
from zenkei.model.verdict import Comparison, Finding, Tolerance

ReadStream = Callable[[int, int], bytes]
"""(offset, limit) to bytes of a stream."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Left:
    """What a job has left. output: manifest of its files, or empty. metrics: by rank, attempt."""

    output: Digest
    metrics: Mapping[tuple[int, int], ReadStream]


@dataclass(frozen=True, kw_only=True, slots=True)
class CodeChange:
    """A file of a code tree that is not the same. diff: unified, or empty; then `why` says it."""

    path: str
    change: str
    diff: str = ""
    why: str = ""


class Comparer(Protocol):
    """Raises Unavailable if it could not be done; then nothing is known."""

    def compare(
        self,
        a: Left,
        b: Left,
        tolerance: Tolerance,
        looked_into: Mapping[str, Finding] | None = None,
    ) -> Comparison:
        """looked_into: what a job has found in checkpoints of PyTorch; None: they are named."""

    def code(self, a: Digest, b: Digest) -> tuple[CodeChange, ...]:
        """Of two code trees, either of them perhaps empty."""

    def torch_job(self, a: Digest, b: Digest, paths: Mapping[str, float]) -> Digest:
        """Code tree of a job that looks into checkpoints: both versions and the program, `look.py`.

        paths: with the tolerance of each. The same tree for the same question. Its output has
        `findings.json`: a `Finding` as an object, by path.
        """
