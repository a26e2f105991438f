"""Specs by digest, parsed once. Immutable content, so a cache needs no invalidation."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

from zenkei import spec as specs
from zenkei.model.data import Digest
from zenkei.model.errors import InternalError
from zenkei.model.job import JobSpec
from zenkei.ports.store import Store

MOST = 4096
"""Specs kept in memory; about 2 KB each."""


class SpecCache:
    """Shared by planner, observer and dispatcher. Thread-safe; a miss costs one query."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = Lock()
        self._known: OrderedDict[Digest, JobSpec] = OrderedDict()

    def get(self, digest: Digest, *, text: str | None = None) -> JobSpec:
        """text: the canonical text, where the caller has it; else a miss asks the store.

        Raises InternalError if the store lost the text (it is written with the first job).
        """
        with self._lock:
            found = self._known.get(digest)
            if found is not None:
                self._known.move_to_end(digest)
                return found
        if text is None:
            text = self._store.spec(digest)
        if text is None:
            raise InternalError("spec-lost", f"the store has no spec {digest}")
        parsed = specs.from_canonical(text)
        self.remember(digest, parsed)
        return parsed

    def remember(self, digest: Digest, parsed: JobSpec) -> None:
        with self._lock:
            self._known[digest] = parsed
            while len(self._known) > MOST:
                self._known.popitem(last=False)
