"""Environments of one machine: the Builder port, and what operators ask about them.

Called by `control` (lock), engines (realise), and the use-cases behind `zenkei env` (list, show,
remove, gc, refresh). Thread-safe; several processes may share one home.

    envs/locks/     known answers of the resolver      envs/trees/    environments
    envs/records/   what was built; commits a build    envs/claims/   one builder at a time
    envs/cache/     uv's cache and its ledger          envs/work/     temporary
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from zenkei.envs import files
from zenkei.envs.cache import Cache
from zenkei.envs.child import Children
from zenkei.envs.locking import Locker
from zenkei.envs.person import Person
from zenkei.envs.pythons import Python, Pythons
from zenkei.envs.realising import Realiser
from zenkei.envs.records import Environment, EnvironmentState, Record, Records
from zenkei.envs.uv import Uv
from zenkei.model.data import Digest
from zenkei.model.errors import Conflict, NotFound
from zenkei.model.job import EnvRequest
from zenkei.ports.blobs import Blobs

GRACE_S: Final = 3600.0
"""What was used more recently is not collected: its job may not be in the store yet."""


class UvBuilder:
    """Implements ports.builder.Builder. root: `$ZENKEI_HOME/envs`.

    environ: the daemon's environment; of it uv gets what `person` lists. timeout_s: for each
    command of uv.
    """

    def __init__(
        self,
        *,
        root: Path,
        blobs: Blobs,
        environ: Mapping[str, str],
        timeout_s: float = 3600.0,
        pythons: Pythons | None = None,
    ) -> None:
        # scripts of an environment hold its path: the same one, whatever link led here
        root = files.private(root).resolve()
        person = Person(environ)
        self._children = Children()
        self._cache = Cache(root / "cache")
        self._pythons = pythons or Pythons(environ)
        self._records = Records(root / "records")
        uv = Uv(person, self._children, self._cache.folder, timeout_s)
        self._locker = Locker(
            root=root / "locks",
            work=root / "work",
            blobs=blobs,
            uv=uv,
            cache=self._cache,
            pythons=self._pythons,
            person=person,
        )
        self._realiser = Realiser(
            root=root,
            blobs=blobs,
            uv=uv,
            cache=self._cache,
            pythons=self._pythons,
            records=self._records,
        )

    # -- the port ----------------------------------------------------------------------------------

    def lock(
        self, request: EnvRequest, progress: Callable[[str], None], *, upgrade: bool = False
    ) -> Digest:
        """See the port. upgrade: resolve anew though the answer is known. Empty if bare."""
        return self._locker.lock(request, progress, upgrade=upgrade)

    def realise(self, lock: Digest, progress: Callable[[str], None]) -> str:
        """See the port. Each call checks that nothing was changed; give its path to one job."""
        return self._realiser.realise(lock, progress)

    # -- what operators ask ------------------------------------------------------------------------

    def list(self) -> tuple[Environment, ...]:
        """All environments of this machine, last used first. Reads no content."""
        keys = set(self._records.names())
        building = {p.name for p in self._realiser.claims.iterdir() if files.held(p)}
        rows = [self._row(key, building) for key in keys | building]
        return tuple(sorted(rows, key=lambda row: (-row.used_at_us, row.lock, row.python)))

    def show(self, lock: Digest) -> tuple[Environment, ...]:
        """Those of one lock (one per interpreter), each checked. Raises NotFound."""
        keys = self._keys_of(lock)
        if not keys:
            raise _unknown(lock)
        rows = []
        for key in keys:
            row, record = self._row(key, set()), self._records.get(key)
            if record and row.state is EnvironmentState.READY and not self._realiser.intact(record):
                row = _row_of(record, row.used_at_us, EnvironmentState.CHANGED, row.path)
            rows.append(row)
        return tuple(rows)

    def remove(self, lock: Digest, in_use: frozenset[Digest] | set[Digest]) -> int:
        """Bytes that were freed. Raises Conflict if an unfinished job uses it, NotFound."""
        if lock in in_use:
            raise Conflict(
                "environment-in-use",
                f"environment {lock} is used by a job that is not finished",
                hint="wait for it, or cancel it: `zenkei ps` shows the jobs",
            )
        keys = self._keys_of(lock)
        if not keys:
            raise _unknown(lock)
        return sum(self._remove(key, used_before_us=None) for key in keys)

    def gc(
        self,
        in_use: frozenset[Digest] | set[Digest],
        *,
        older_than_s: float = GRACE_S,
        cache: bool = False,
    ) -> int:
        """Remove environments of no unfinished job; returns bytes freed. cache: uv's cache too.

        in_use: locks of all unfinished jobs. What is collected is built again from its lock.
        """
        limit_us = int((time.time() - older_than_s) * 1e6)
        freed = 0
        for key in self._records.names():
            record = self._records.get(key)
            if record is None or record.lock not in in_use:
                freed += self._remove(key, used_before_us=limit_us)
        self._remove_leftovers()
        return freed + (self._cache.clear() if cache else 0)

    def refresh(self) -> int:
        """Forget the resolver's answers: the next submission of each request is resolved anew."""
        return self._locker.forget()

    def pythons(self) -> tuple[Python, ...]:
        """Interpreters that jobs can ask for."""
        return self._pythons.found()

    def occupied(self) -> tuple[int, int]:
        """Bytes of all environments, and of uv's cache."""
        return sum(row.size_bytes for row in self.list()), self._cache.occupied()

    def close(self) -> None:
        """End running builds; their jobs are prepared again after the next start."""
        self._children.stop()

    # -- inside ------------------------------------------------------------------------------------

    def _keys_of(self, lock: Digest) -> Sequence[str]:
        return [k for k in self._records.names() if (r := self._records.get(k)) and r.lock == lock]

    def _row(self, key: str, building: set[str]) -> Environment:
        record = self._records.get(key)
        if record is None:
            state = EnvironmentState.BUILDING if key in building else EnvironmentState.MISSING
            return Environment(
                lock=Digest(""),
                python="",
                packages=(),
                size_bytes=0,
                built_at_us=0,
                used_at_us=self._records.used_at_us(key),
                state=state,
                path="",
            )
        path = self._realiser.path_of(record)
        state = EnvironmentState.READY if path.is_dir() else EnvironmentState.MISSING
        return _row_of(record, self._records.used_at_us(key), state, str(path))

    def _remove(self, key: str, *, used_before_us: int | None) -> int:
        """Under its claim; a build or check that runs now keeps it."""
        claim = self._realiser.claim_of(key)
        if files.held(claim):
            return 0
        with files.claimed(claim, lambda: None):
            if used_before_us is not None and self._records.used_at_us(key) > used_before_us:
                return 0
            record = self._records.get(key)
            self._records.drop(key)
            self._realiser.remove_trees(key)
            return record.size_bytes if record else 0

    def _remove_leftovers(self) -> None:
        """Directories of builders that died, where nobody has built since."""
        recorded = {key[:20] for key in self._records.names()}
        for claim in self._realiser.claims.iterdir():
            if claim.name[:20] not in recorded and not files.held(claim):
                with files.claimed(claim, lambda: None):
                    if self._records.get(claim.name) is None:
                        self._realiser.remove_trees(claim.name)


def _row_of(record: Record, used_at_us: int, state: EnvironmentState, path: str) -> Environment:
    return Environment(
        lock=record.lock,
        python=record.python,
        packages=record.packages,
        size_bytes=record.size_bytes,
        built_at_us=record.built_at_us,
        used_at_us=used_at_us,
        state=state,
        path=path,
    )


def _unknown(lock: Digest) -> NotFound:
    return NotFound(
        "no-such-environment",
        f"no environment {lock[:80]} is on this machine",
        hint="`zenkei env list` shows all",
    )
