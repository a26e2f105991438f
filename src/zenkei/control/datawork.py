"""What `zenkei dataset` does with content: commit, export, diff, list, verify, collect.

Called by the routes. Who may do it is asked of `datasets`; the work itself happens in processes of
its own behind `ports.datasets.DataWorks`, which tell how far they are.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from zenkei.control.datasets import Commit, Datasets, content_of
from zenkei.model.access import Principal, Target, Verb, can
from zenkei.model.data import Digest
from zenkei.model.dataset import DatasetVersion, Storing
from zenkei.model.errors import Denied, InvalidInput, NotAvailable
from zenkei.ports.datasets import DatasetRows, DataWorks, Registry

Said = Callable[[Mapping[str, Any]], None]
GRACE_S = 24 * 3600.0
"""Content that nothing names is kept so long: longer than any commit takes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """What is committed: a directory of this machine, with the daemon's own rights.

    reference: only where it lies; nothing is copied. exclude: patterns of paths that stay out.
    """

    path: str
    reference: bool = False
    exclude: tuple[str, ...] = ()
    follow_links: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """A result. write: into a directory that is not there. inputs: its data, `name@digest`."""

    attempt: str
    inputs: tuple[str, ...]
    write: Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Committed:
    """version: the new one, or the one that has this content already. found: as the worker said."""

    version: DatasetVersion
    is_new: bool
    found: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """The helper of the daemon's machine. request: cache, budget, depot, as in any order."""

    works: DataWorks
    request: Mapping[str, Any]


class DatasetWork:
    """depot: location of the content. state: folder of scans. pinned: digests that jobs need.

    node: where versions are shown to people; None: nowhere.
    """

    def __init__(
        self,
        *,
        datasets: Datasets,
        registry: Registry,
        works: DataWorks,
        depot: str,
        state: str,
        pinned: Callable[[], frozenset[Digest]],
        node: Node | None = None,
    ) -> None:
        self._datasets = datasets
        self._registry = registry
        self._works = works
        self._depot = depot
        self._state = state
        self._pinned = pinned
        self._node = node

    def commit(
        self, who: Principal, name: str, source: Source, commit: Commit, said: Said
    ) -> Committed:
        """Store a directory as the next version. Raises what `Datasets.committed` raises."""
        _absolute(source.path)
        base = self._datasets.writable(who, name)
        scan = hashlib.sha256(os.fsencode(os.path.realpath(source.path))).hexdigest()
        return self._commit(who, base, source, os.path.join(self._state, scan), commit, said)

    def promote(
        self, who: Principal, name: str, made: Made, commit: Commit, said: Said
    ) -> Committed:
        """Store what a job has made as the next version, with what it was made from."""
        base = self._datasets.writable(who, name)
        about = replace(commit, job=made.attempt, inputs=made.inputs)
        with tempfile.TemporaryDirectory(dir=self._state, prefix="promoted-") as folder:
            files = os.path.join(folder, "files")
            made.write(files)
            source = Source(path=files)
            return self._commit(who, base, source, os.path.join(folder, "scan"), about, said)

    def _commit(
        self,
        who: Principal,
        base: DatasetRows,
        source: Source,
        state: str,
        commit: Commit,
        said: Said,
    ) -> Committed:
        order = {
            "do": "commit",
            "depot": self._depot,
            "source": source.path,
            "state": state,
            "reference": source.reference,
            "exclude": list(source.exclude),
            "follow_links": source.follow_links,
        }
        found = self._works.run(order, said)
        storing = Storing.REFERENCE if source.reference else Storing.PACKED
        content = content_of(Digest(str(found["digest"])), found, storing)
        version, is_new = self._datasets.committed(who, base, content, commit)
        return Committed(version=version, is_new=is_new, found=found)

    def export(
        self,
        who: Principal,
        text: str,
        to: str,
        said: Said,
        *,
        only: tuple[str, ...] = (),
        overwrite: bool = False,
    ) -> tuple[DatasetVersion, Mapping[str, Any]]:
        """Write a version, or parts of it, into a directory of this machine."""
        _absolute(to)
        version = self._datasets.find(who, text)
        order = {
            "do": "export",
            "depot": self._depot,
            "digest": version.digest,
            "to": to,
            "only": list(only),
            "overwrite": overwrite,
        }
        return version, self._works.run(order, said)

    def diff(
        self, who: Principal, one: str, other: str, said: Said, *, limit: int
    ) -> Mapping[str, Any]:
        """Counts of added, removed and changed files, and the first of them."""
        a, b = self._datasets.find(who, one), self._datasets.find(who, other)
        order = {"do": "diff", "depot": self._depot, "a": a.digest, "b": b.digest, "limit": limit}
        names = [f"{v.dataset}@{v.number}" for v in (a, b)]
        return {**self._works.run(order, said), "from": names[0], "to": names[1]}

    def files(
        self, who: Principal, text: str, said: Said, *, under: str, after: str, limit: int
    ) -> tuple[DatasetVersion, Mapping[str, Any]]:
        """A page of a version's files."""
        version = self._datasets.find(who, text)
        order = {
            "do": "list",
            "depot": self._depot,
            "digest": version.digest,
            "under": under,
            "after": after,
            "limit": limit,
        }
        return version, self._works.run(order, said)

    def verify(
        self, who: Principal, texts: tuple[str, ...], said: Said, *, deep: bool
    ) -> Mapping[str, Any]:
        """Whether content is there and undamaged: of these versions, or of all one may read."""
        if texts:
            versions = [self._datasets.find(who, text) for text in texts]
        else:
            versions = [v for rows in self._datasets.list(who) for v in rows.versions.values()]
        digests = list(dict.fromkeys(version.digest for version in versions))
        order = {"do": "verify", "depot": self._depot, "digests": digests, "deep": deep}
        return {**self._works.run(order, said), "versions": len(versions)}

    def mount(
        self, who: Principal, text: str, holder: str, said: Said
    ) -> tuple[DatasetVersion, Mapping[str, Any]]:
        """Show a version on the daemon's machine, read-only, until `release` of the same holder."""
        version = self._datasets.find(who, text)
        order = {"do": "mount", **self._own_node().request, "digest": version.digest}
        return version, self._own_node().works.run({**order, "holder": _held(who, holder)}, said)

    def release(self, who: Principal, holder: str, said: Said) -> Mapping[str, Any]:
        """Safe to repeat."""
        node = self._own_node()
        order = {"do": "release", "cache": node.request["cache"], "holder": _held(who, holder)}
        return node.works.run(order, said)

    def _own_node(self) -> Node:
        if self._node is None:
            raise NotAvailable("no-node", "this daemon has no place where datasets can be shown")
        return self._node

    def collect(
        self, who: Principal, said: Said, *, dry_run: bool, grace_s: float = GRACE_S
    ) -> Mapping[str, Any]:
        """Remove content that no version and no job names any more."""
        if not can(who, Verb.OPERATE, Target()):
            raise Denied(
                "may-not-operate",
                f"{who.name} may not remove content",
                hint="an operator can: `zenkei dataset gc`",
            )
        keep = sorted(self._registry.digests() | self._pinned())
        order = {
            "do": "gc",
            "depot": self._depot,
            "keep": keep,
            "grace_s": grace_s,
            "dry_run": dry_run,
        }
        return self._works.run(order, said)


def _held(who: Principal, holder: str) -> str:
    return f"{who.name} {holder}"


def _absolute(path: str) -> None:
    if not path.startswith("/") or "\0" in path:
        raise InvalidInput("bad-path", f"`{path[:100]}` is not an absolute path")
