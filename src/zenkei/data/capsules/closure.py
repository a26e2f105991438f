"""What a capsule's job needs, all of it: from the few digests it names to every content.

Called by `writing` and `taking` with a way to read a content. A job names, each perhaps empty:
`spec`, `record`, `env` (contents), `source` (with its diff), `code`, `output`, `streams` (trees).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from zenkei.data import source
from zenkei.data.manifest import leaves_tree, link_map, parse, shown
from zenkei.model.data import Digest, EntryKind, Manifest, is_digest
from zenkei.model.errors import InvalidInput

PLAIN: Final = ("spec", "record", "env")
TREES: Final = ("code", "output", "streams")
NEEDED: Final = ("spec", "record", "streams")
MOST_BYTES: Final = {"spec": 4 << 20, "record": 256 << 20, "env": 64 << 20, "source": 64 << 20}
MOST_TREE_BYTES: Final = 1 << 30
Read = Callable[[Digest, int], bytes]
"""A content of at most so many bytes."""


class Closure:
    """sizes: by digest, None where nothing says it. trees: by role."""

    def __init__(self, job: Mapping[str, Any], read: Read) -> None:
        self.sizes: dict[Digest, int | None] = {}
        self.trees: dict[str, Manifest] = {}
        roots = {role: _digest(job, role) for role in (*PLAIN, "source", *TREES)}
        for role in PLAIN:
            self._need(roots[role])
        if roots["source"]:
            self._need(roots["source"])
            document = read(roots["source"], MOST_BYTES["source"])
            for digest in _referenced(document):
                self._need(digest)
        for role in TREES:
            if roots[role]:
                self._need(roots[role])
                self.trees[role] = self._tree(role, read(roots[role], MOST_TREE_BYTES))

    def _tree(self, role: str, content: bytes) -> Manifest:
        manifest = parse(content)
        links = link_map(manifest.entries)
        # a result may have such links, which never leave it; code is laid out with its links
        leaving = [path for path in links if role != "output" and leaves_tree(path, links)]
        if leaving:
            raise InvalidInput(
                "bad-manifest",
                f"this manifest is refused: the link `{shown(leaving[0])}` leads out of the tree",
                hint="manifests are written by zenkei only; this one was altered",
            )
        for entry in manifest.entries:
            if entry.kind is EntryKind.FILE:
                self._need(entry.digest, entry.size_bytes)
        return manifest

    def _need(self, digest: Digest, size: int | None = None) -> None:
        if not digest:
            return
        known = self.sizes.get(digest)
        if size is not None and known is not None and size != known:
            raise InvalidInput(
                "bad-manifest",
                f"this manifest is refused: {digest} has two sizes, {known} and {size}",
                hint="manifests are written by zenkei only; this one was altered",
            )
        self.sizes[digest] = known if size is None else size


def _digest(job: Mapping[str, Any], role: str) -> Digest:
    value = job.get(role)
    if not isinstance(value, str) or not (is_digest(value) or value == ""):
        raise _bad(f"`{role}` is no digest")
    if not value and role in NEEDED:
        raise _bad(f"it has no {role}")
    return Digest(value)


def _referenced(document: bytes) -> list[Digest]:
    found: list[Any] | None = None
    try:
        if document.startswith(source.HEADER):
            found = list(source.referenced(document))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        found = None  # told below
    if found is None or not all(isinstance(one, str) and is_digest(one) for one in found):
        raise _bad("what it says of the code's origin cannot be read")
    return found


def _bad(why: str) -> InvalidInput:
    return InvalidInput(
        "bad-capsule",
        f"this capsule is refused: {why}",
        hint="take the file as `zenkei result capsule` has written it",
    )
