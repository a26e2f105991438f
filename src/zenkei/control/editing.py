"""Waiting jobs that shall ask for something else: `zenkei edit`. Called by `commands`.

One unit for a job or all members of its submission: those that wait are changed, the others are
passed by; refused if none waits. What the job asks for then is checked like a submission. What is
prepared for it (environment, code, data) stays. Cost: O(members), one spec for each different one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from zenkei import spec as specs
from zenkei.control.admission import admit
from zenkei.control.draft import Draft
from zenkei.control.specs import SpecCache
from zenkei.lifecycle import commands as c
from zenkei.model.access import Principal
from zenkei.model.data import Digest
from zenkei.model.errors import Conflict
from zenkei.model.job import WAITING, Job, JobSpec
from zenkei.model.queue import ClusterConfig
from zenkei.ports.store import View


class Edit:
    """One wish, applied to jobs that may have several specs."""

    def __init__(
        self, cache: SpecCache, principal: Principal, changes: Mapping[str, object]
    ) -> None:
        self._cache = cache
        self._by = principal.name
        self._changes = changes
        self._made: dict[Digest, tuple[JobSpec, Digest]] = {}

    def apply(self, view: View, draft: Draft, rows: Iterable[Job]) -> tuple[Job, ...]:
        """Rows after the edit, in order. Raises Conflict, InvalidInput, NotFound."""
        record = view.cluster()
        config = record.config if record is not None else ClusterConfig()
        after, refused, edited = [], None, False
        for row in rows:
            try:
                after.append(draft.advance(row.id, self._command(row, config)))
                edited = True
            except Conflict as conflict:
                if row.state in WAITING:
                    raise
                refused = refused or conflict
                after.append(row)
        if refused is not None and not edited:
            raise refused
        draft.changes.specs.update(
            {digest: specs.canonical(spec) for spec, digest in self._made.values()}
        )
        return tuple(after)

    def _command(self, row: Job, config: ClusterConfig) -> c.Edit:
        before = self._cache.get(row.spec)
        spec, digest = self._edited(row.spec, before)
        by_queue = admit(config, spec) if row.state in WAITING else row.priority
        # a priority that nobody chose is that of the queue where it waits
        moved = spec.queue != row.queue and spec.priority is None
        named = "priority" in self._changes
        priority = by_queue if moved or named else row.priority
        return c.Edit(
            spec=digest,
            queue=spec.queue,
            priority=priority,
            by=self._by,
            changes=specs.changes(before, spec),
        )

    def _edited(self, digest: Digest, before: JobSpec) -> tuple[JobSpec, Digest]:
        if digest not in self._made:
            spec = specs.edited(before, self._changes)
            made = specs.digest(spec)
            self._cache.remember(made, spec)
            self._made[digest] = (spec, made)
        return self._made[digest]
