"""A comparer for tests of use-cases: answers what it is told, remembers what it was asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from zenkei.model.data import Digest
from zenkei.model.verdict import Comparison, Finding, Tolerance, Verdict
from zenkei.ports.comparing import CodeChange, Left


@dataclass
class ComparerDouble:
    """answer: of every comparison. torch: paths that it cannot look into itself."""

    answer: Comparison = Comparison(verdict=Verdict.IDENTICAL)
    changes: tuple[CodeChange, ...] = ()
    tree: Digest = Digest("b3:" + "7" * 64)
    asked: list[tuple[Left, Left, Tolerance, Mapping[str, Finding] | None]] = field(
        default_factory=list
    )

    def compare(
        self,
        a: Left,
        b: Left,
        tolerance: Tolerance,
        looked_into: Mapping[str, Finding] | None = None,
    ) -> Comparison:
        self.asked.append((a, b, tolerance, looked_into))
        return self.answer

    def code(self, a: Digest, b: Digest) -> tuple[CodeChange, ...]:
        return self.changes

    def torch_job(self, a: Digest, b: Digest, paths: Mapping[str, float]) -> Digest:
        return self.tree
