"""Where things lie below the state directory. Ids in paths are digits and dots: safe."""

from __future__ import annotations

import os
from pathlib import Path

from zenkei.model.data import Digest
from zenkei.model.ids import AttemptId
from zenkei.protocol import names

ATTEMPT_FILE = "attempt.json"


class Layout:
    """`active` holds one empty file per attempt that is not retired: a restart scans no others."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.attempts = home / "attempts"
        self.active = home / "attempts" / ".active"
        self.agent = home / "agent"
        self.code = home / "code"
        self.fenced = home / "attempts" / ".fenced"

    def make(self) -> None:
        for folder in (self.attempts, self.active, self.agent, self.code):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    @property
    def wake(self) -> Path:
        return self.attempts / names.WAKE_SOCKET

    def attempt(self, attempt: AttemptId) -> Path:
        return self.attempts / str(attempt.job) / str(attempt.number)

    def node(self, attempt: AttemptId, rank: int) -> Path:
        return self.attempt(attempt) / f"node-{rank}"

    def fenced_mark(self, attempt: AttemptId, rank: int) -> Path:
        """There if what lies on that node is refused, also when nothing of it lives any more."""
        return self.attempt(attempt) / f"fenced-{rank}"

    def resume(self, attempt: AttemptId) -> Path:
        """The checkpoint that an attempt goes on from, laid out before its ranks start."""
        return self.attempts / str(attempt.job) / f"{names.RESUME_SUBDIR}-{attempt.number}"

    def active_mark(self, attempt: AttemptId) -> Path:
        return self.active / f"{attempt.job}_{attempt.number}"

    def active_attempts(self) -> list[AttemptId]:
        found = [name.replace("_", "/") for name in os.listdir(self.active)]
        return sorted(AttemptId.parse(name) for name in found)

    def code_tree(self, digest: Digest) -> Path:
        return self.code / digest.removeprefix("b3:")


# seen from the directory of an attempt on a node: short enough for a socket, however deep the home
WAKE_FROM_NODE = f"../../../{names.WAKE_SOCKET}"
