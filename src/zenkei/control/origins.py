"""Where the code of jobs came from, read from the source documents that a snapshot left.

Called by `queries` (one job) and `sealing` (a batch). A document that is gone, or that is not of
the known form, means that nothing is known: it never keeps a job from being shown or sealed.
"""

from __future__ import annotations

import json
import logging
from typing import Any

from zenkei.model.data import Digest, GitState, is_digest
from zenkei.model.errors import ZenkeiError
from zenkei.ports.blobs import Blobs

log = logging.getLogger(__name__)

MAX_CHARS = 4096


class Origins:
    """Documents by digest, each read once: for one batch, as members of an array share theirs."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._known: dict[Digest, GitState | None] = {}

    def git(self, source: Digest) -> GitState | None:
        """None without a document or without git. Raises nothing about the document."""
        if not source:
            return None
        if source not in self._known:
            self._known[source] = self._read(source)
        return self._known[source]

    def _read(self, source: Digest) -> GitState | None:
        try:
            return git_of(self._blobs.get(source))
        except (ZenkeiError, OSError) as error:
            log.warning("source document not readable digest=%s why=%s", source, error)
            return None


def git_of(document: bytes) -> GitState | None:
    """What a source document says about git; None if it says nothing, or is something else."""
    try:
        found = json.loads(document)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or found.get("zenkei") != "source":
        return None
    git = found.get("git")
    if not isinstance(git, dict):
        return None
    diff = _text(git, "diff")
    return GitState(
        commit=_text(git, "commit"),
        branch=_text(git, "branch"),
        remote=_text(git, "remote"),
        dirty=git.get("dirty") is True,
        diff=Digest(diff if is_digest(diff) else ""),
        diff_bytes=_number(git, "diff_bytes"),
        diff_cut=git.get("diff_cut") is True,
    )


def _text(git: dict[str, Any], key: str) -> str:
    """Names in git are bytes: what is no UTF-8 is escaped, so that it can be written anywhere."""
    value = git.get(key)
    if not isinstance(value, str):
        return ""
    return value[:MAX_CHARS].encode("utf-8", "backslashreplace").decode("utf-8")


def _number(git: dict[str, Any], key: str) -> int:
    value = git.get(key)
    return value if type(value) is int and value >= 0 else 0
