"""What a result came from and what came of it: jobs, code, environments, dataset versions.

Called by the server's routes; drawn as a tree, as JSON and as SVG (`server.lineagesvg`). Walks
back through the jobs that this one repeats and the versions that its data were made from, and
forward to verdicts and to versions that it made. What the caller may not see is left out. Bounded:
MOST_NODES.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import StrEnum

from zenkei.control.datapins import PinCache
from zenkei.control.datasets import Datasets
from zenkei.control.origins import Origins
from zenkei.control.queries import Queries
from zenkei.model.access import Principal
from zenkei.model.data import Result
from zenkei.model.dataset import DatasetPin, DatasetVersion
from zenkei.model.errors import InvalidInput, NotFound
from zenkei.model.ids import WHOLE, AttemptId, JobId
from zenkei.model.job import Job
from zenkei.model.wording import count
from zenkei.ports.blobs import Blobs
from zenkei.ports.book import ResultBook

MOST_NODES = 500


class Part(StrEnum):
    """What a node of the graph is."""

    JOB = "job"
    RESULT = "result"
    CODE = "code"
    ENVIRONMENT = "environment"
    DATASET = "dataset"


@dataclass(frozen=True, kw_only=True, slots=True)
class Vertex:
    """id: unique in the graph. label: for people. about: more, such as a digest."""

    id: str
    kind: Part
    label: str
    about: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Edge:
    """`source` was used for, or became, `target`. word: how."""

    source: str
    target: str
    word: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Lineage:
    """root: the job's result, or the job if it has none. cut: there is more than is shown."""

    root: str
    vertices: tuple[Vertex, ...]
    edges: tuple[Edge, ...]
    cut: bool = False


class LineageQuery:
    """See the module's docstring."""

    def __init__(
        self, *, queries: Queries, book: ResultBook, datasets: Datasets, blobs: Blobs
    ) -> None:
        self._queries = queries
        self._book = book
        self._datasets = datasets
        self._pins = PinCache(blobs)
        self._blobs = blobs

    def lineage(self, principal: Principal, job: JobId) -> Lineage:
        row = self._queries.row(principal, job)
        walk = _Walk(self, principal)
        walk.jobs.append(row)
        while walk.jobs or walk.versions:
            if len(walk.vertices) > MOST_NODES:
                break
            if walk.jobs:
                self._add_job(walk, walk.jobs.popleft())
            else:
                self._add_version(walk, walk.versions.popleft())
        root = f"result {row.id}" if f"result {row.id}" in walk.vertices else f"job {row.id}"
        return Lineage(
            root=root,
            vertices=tuple(walk.vertices.values()),
            edges=tuple(walk.edges),
            cut=bool(walk.jobs or walk.versions),
        )

    def _add_job(self, walk: _Walk, row: Job) -> None:
        key = f"job {row.id}"
        if key in walk.vertices:
            return
        origin = self._queries.origin(row)
        where = f", imported from {origin['installation']}/{origin['job']}" if origin else ""
        label = f"{key} ({row.name}){where}"
        walk.add(Vertex(id=key, kind=Part.JOB, label=label, about=str(row.state)))
        if row.code:
            git = Origins(self._blobs).git(row.source)
            commit = f"code {git.commit[:12]}" if git is not None and git.commit else "code"
            label = f"{commit}{' with changes' if git is not None and git.dirty else ''}"
            walk.feeds(Vertex(id=row.code, kind=Part.CODE, label=label, about=row.code), key, "ran")
        if row.env:
            label = f"environment {row.env[3:15]}"
            env = Vertex(id=row.env, kind=Part.ENVIRONMENT, label=label, about=row.env)
            walk.feeds(env, key, "ran in")
        for pin in self._pins_of(row):
            vertex = Vertex(
                id=f"data {pin.name}@{pin.number}",
                kind=Part.DATASET,
                label=f"{pin.name}@{pin.number}",
                about=pin.digest,
            )
            walk.feeds(vertex, key, f"read at {pin.at}")
            walk.follow_version(f"{pin.name}@{pin.number}")
        self._add_result(walk, row, key)
        if row.rerun_of:
            self._follow(walk, row.rerun_of, key, "repeated by")
        for verdict in self._book.verdicts(row.id):
            other = verdict.against if verdict.job == str(row.id) else verdict.job
            word = f"verified: {verdict.comparison.verdict.replace('_', ' ')}"
            ends = (f"job {verdict.job}", f"job {verdict.against}")
            if walk.enqueue(other):
                walk.link(*ends, word)

    def _pins_of(self, row: Job) -> tuple[DatasetPin, ...]:
        try:
            return self._pins.get(row.data)
        except (NotFound, InvalidInput):
            return ()

    def _add_result(self, walk: _Walk, row: Job, key: str) -> None:
        try:
            found: Result = self._queries.result(walk.principal, row.id)
        except NotFound:
            return
        label = f"result of {row.id}, {count(found.files, 'file')}"
        walk.add(Vertex(id=f"result {row.id}", kind=Part.RESULT, label=label, about=found.output))
        walk.link(key, f"result {row.id}", str(found.state))
        for version in self._datasets.made_by(walk.principal, row.id):
            name = f"{version.dataset}@{version.number}"
            about = version.digest
            walk.add(Vertex(id=f"data {name}", kind=Part.DATASET, label=name, about=about))
            walk.link(f"result {row.id}", f"data {name}", "became")

    def _add_version(self, walk: _Walk, text: str) -> None:
        try:
            version: DatasetVersion = self._datasets.find(walk.principal, text)
        except (NotFound, InvalidInput):
            return
        key = f"data {version.dataset}@{version.number}"
        label, about = f"{version.dataset}@{version.number}", version.digest
        walk.add(Vertex(id=key, kind=Part.DATASET, label=label, about=about))
        for text_ in version.inputs:
            found = self._resolved(walk.principal, text_)
            if found is not None:
                name = f"{found.dataset}@{found.number}"
                vertex = Vertex(
                    id=f"data {name}", kind=Part.DATASET, label=name, about=found.digest
                )
                walk.feeds(vertex, key, "made from")
                walk.follow_version(name)
        if version.job:
            job = AttemptId.parse(version.job).job if "/" in version.job else None
            self._follow(walk, str(job) if job else version.job, key, "made by")

    def _resolved(self, principal: Principal, text: str) -> DatasetVersion | None:
        try:
            return self._datasets.find(principal, text)
        except (NotFound, InvalidInput):
            return None

    def _follow(self, walk: _Walk, job: str, key: str, word: str) -> None:
        if walk.enqueue(job):
            walk.link(f"job {job}", key, word)

    def row(self, principal: Principal, text: str) -> Job | None:
        """None for an array, for what is gone, and for what the caller may not see."""
        try:
            job = JobId.parse(text)
            rows = self._queries.rows(principal, job)
        except (NotFound, InvalidInput):
            return None
        return rows[0] if len(rows) == 1 or job.member != WHOLE else None


class _Walk:
    """The graph as far as it is known, and what is still to be looked at."""

    def __init__(self, query: LineageQuery, principal: Principal) -> None:
        self.principal = principal
        self.vertices: dict[str, Vertex] = {}
        self.edges: list[Edge] = []
        self.jobs: deque[Job] = deque()
        self.versions: deque[str] = deque()
        self._query = query
        self._seen: set[str] = set()

    def add(self, vertex: Vertex) -> None:
        self.vertices.setdefault(vertex.id, vertex)

    def link(self, source: str, target: str, word: str) -> None:
        edge = Edge(source=source, target=target, word=word)
        if edge not in self.edges:
            self.edges.append(edge)

    def feeds(self, vertex: Vertex, key: str, word: str) -> None:
        self.add(vertex)
        self.link(vertex.id, key, word)

    def follow_version(self, text: str) -> None:
        if text not in self._seen:
            self._seen.add(text)
            self.versions.append(text)

    def enqueue(self, text: str) -> bool:
        """Whether there is such a job that may be shown."""
        row = self._query.row(self.principal, text)
        if row is not None:
            self.jobs.append(row)
        return row is not None
