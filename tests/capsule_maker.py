"""Installations without a daemon that write capsules and take them in, and forged capsules."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.dataset_trees import nothing, write_tree
from zenkei.control import capsulefacts
from zenkei.control.capsulefacts import Facts
from zenkei.data.blobs_dir import DirectoryBlobs
from zenkei.data.capsules import archive, taking, writing
from zenkei.data.capsules.archive import INDEX, Archive, Entry
from zenkei.data.digests import digest_of
from zenkei.data.tree import DirectoryTrees
from zenkei.data.versions import requests
from zenkei.model.data import Digest
from zenkei.model.job import Exit, FailureClass, JobSpec, JobState, StopReason
from zenkei.spec import canonical

FACTS = Facts(
    installation="0123456789ab",
    zenkei="1.0",
    id="42",
    name="digits",
    owner="ada",
    state=JobState.SUCCEEDED,
    attempt=1,
    priority=0,
    params={},
    seed=7,
    stop=StopReason.COMPLETED,
    exit=Exit(code=0, rank=0),
    failure=FailureClass.NONE,
    message="",
    nodes=(),
    submitted_us=1_700_000_000_000_000,
    started_us=1_700_000_001_000_000,
    ended_us=1_700_000_002_000_000,
    spec=Digest(""),
    code=Digest(""),
    source=Digest(""),
    env=Digest(""),
    record=Digest(""),
    output=Digest(""),
    streams=Digest(""),
)
ORIGIN = '{"zenkei":"origin"}'


@dataclass(frozen=True)
class Installation:
    """Stores below `root`, but for datasets that lie elsewhere."""

    root: Path
    depot: str = ""

    @property
    def request(self) -> dict[str, str]:
        return {
            "blobs": str(self.root / "blobs"),
            "depot": self.depot or str(self.root / "datasets"),
        }

    @property
    def blobs(self) -> DirectoryBlobs:
        return DirectoryBlobs(self.root / "blobs")

    def contents(self) -> set[Digest]:
        return {digest for digest, _ in self.blobs.digests()}

    def versions(self) -> set[str]:
        folder = self.root / "datasets" / "versions"
        return {path.name for path in folder.rglob("*") if path.is_file()}

    def tree(self, files: Mapping[str, bytes]) -> Digest:
        """A directory as the trees of this installation keep it."""
        place = self.root / f"tree-{digest_of(repr(sorted(files.items())).encode())[3:19]}"
        for name, content in files.items():
            path = place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        place.mkdir(parents=True, exist_ok=True)
        digest, _, _ = DirectoryTrees(self.blobs, state=self.root).seal((place,))
        return digest

    def commit(self, folder: Path, **more: Any) -> dict[str, Any]:
        order = {"do": "commit", "depot": self.request["depot"], "source": str(folder), **more}
        return requests.answer(order, nothing)

    def job(self, **more: Any) -> dict[str, Any]:
        """What a capsule says of a job: code, output, record, logs, all of them stored here."""
        blobs = self.blobs
        facts = replace(
            FACTS,
            spec=blobs.put(canonical(JobSpec(name="digits", command="python train.py")).encode()),
            record=blobs.put(b'{"record":1}'),
            env=blobs.put(b"# zenkei-lock {}\n"),
            code=self.tree({"train.py": b"print(1)\n"}),
            output=self.tree({"w/weights.bin": b"\0" * 70_000, "log.txt": b"trained\n"}),
            streams=self.tree({"1/metrics-0/000000": b"0.5\n"}),
        )
        return capsulefacts.document(replace(facts, **more))

    def write(
        self,
        to: Path,
        job: dict[str, Any] | None = None,
        data: list[dict[str, Any]] | None = None,
        **more: Any,
    ) -> dict[str, Any]:
        order = {
            **self.request,
            "to": str(to),
            "job": job or self.job(),
            "data": data or [],
            **more,
        }
        return writing.write(order, nothing)

    def look(self, path: Path) -> dict[str, Any]:
        return taking.look({**self.request, "path": str(path)}, nothing)

    def take(self, path: Path) -> dict[str, Any]:
        found = self.look(path)
        order = {
            **self.request,
            "path": str(path),
            "capsule": found["capsule"],
            "origin": ORIGIN,
        }
        return taking.take(order, nothing)


def pin(digest: str, found: Mapping[str, Any], *, included: bool = True) -> dict[str, Any]:
    """A line of a capsule's list of datasets."""
    return {
        "name": "digits",
        "number": 1,
        "digest": digest,
        "at": "data/digits",
        "files": found["files"],
        "size_bytes": found["size_bytes"],
        "split": None,
        "shuffle": None,
        "included": included,
    }


Contents = dict[str, bytes]


def contents_of(path: Path) -> Contents:
    with Archive(path) as opened:
        return {name: opened.read(name, most=1 << 30) for name in opened.entries}


def forged(
    path: Path,
    contents: Contents,
    local: Callable[[Entry], bytes] = archive._local,
    central: Callable[[Entry], bytes] = archive._central,
    tail: bytes | None = None,
) -> Path:
    """A file of the same form with any names, and with any headers."""
    written, entries = bytearray(), []
    for name, content in contents.items():
        entry = Entry(name, len(content), zlib.crc32(content), len(written))
        entries.append(entry)
        written += local(entry) + content
    at = len(written)
    for entry in entries:
        written += central(entry)
    written += archive._tail(len(entries), at, len(written) - at) if tail is None else tail
    path.write_bytes(written)
    return path


def relisted(contents: Contents, **job: Any) -> Contents:
    """With a list that fits what is there, and another word about the job."""
    document = json.loads(contents[INDEX])
    document["job"] |= job
    rest = {name: content for name, content in contents.items() if name != INDEX}
    document["entries"] = [[name, len(rest[name]), digest_of(rest[name])] for name in rest]
    return {**rest, INDEX: json.dumps(document).encode()}


def with_index(contents: Contents, **changes: Any) -> Contents:
    """With other words in its list."""
    document = json.loads(contents[INDEX]) | changes
    return {**contents, INDEX: json.dumps(document).encode()}


FILES = {b"a/%d.txt" % number: b"x" * number * 100 for number in range(9)} | {b"empty": b""}


def with_dataset(here: Installation, tmp_path: Path) -> Path:
    found = here.commit(write_tree(tmp_path / "files", FILES))
    to = tmp_path / "capsule.zip"
    here.write(to, data=[pin(found["digest"], found)])
    return to
