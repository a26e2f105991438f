"""What a capsule is, in the words of RO-Crate 1.1: for repositories and for people. Pure.

Called by `writing`. Says nothing that `capsule.json` and the record do not say: imports ignore it.
Files stand in a capsule by digest: here they have the names that the job gave them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from zenkei.data.capsules.archive import CRATE, INDEX
from zenkei.data.manifest import shown
from zenkei.model.data import Digest, EntryKind, Manifest

CONTEXT: Final = "https://w3id.org/ro/crate/1.1/context"
PROFILE: Final = "https://w3id.org/ro/crate/1.1"
JSON: Final = "application/json"
Vertex = dict[str, Any]


def crate(job: Mapping[str, Any], trees: Mapping[str, Manifest], datasets: Iterable[str]) -> bytes:
    """datasets: `name@digest`."""
    files = list(_files(job, trees))
    author = {"@id": "#owner", "@type": "Person", "name": str(job["owner"])}
    ended = _iso(int(job["ended_us"]))
    data = [{"@id": f"#{name}", "@type": "Dataset", "name": name} for name in datasets]
    run = {
        "@id": "#run",
        "@type": "CreateAction",
        "name": f"job {job['id']}",
        "agent": {"@id": "#owner"},
        "startTime": _iso(int(job["started_us"] or job["submitted_us"])),
        "endTime": ended,
        "object": [{"@id": one["@id"]} for one in data],
        "result": [{"@id": one["@id"]} for one in files if one["name"].startswith("outputs/")],
    }
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": str(job["name"]),
        "description": f"Result of job {job['id']} ({job['state']}) with all that it came from.",
        "datePublished": ended,
        "author": {"@id": "#owner"},
        "hasPart": [{"@id": one["@id"]} for one in files],
        "mentions": [{"@id": "#run"}],
    }
    about = {
        "@id": CRATE,
        "@type": "CreativeWork",
        "about": {"@id": "./"},
        "conformsTo": {"@id": PROFILE},
    }
    document = {"@context": CONTEXT, "@graph": [about, root, author, run, *data, *files]}
    return json.dumps(document, sort_keys=True, indent=1).encode()


def _files(job: Mapping[str, Any], trees: Mapping[str, Manifest]) -> Iterator[Vertex]:
    """Each content once, by the first name that it has."""
    yield {"@id": INDEX, "@type": "File", "name": INDEX, "encodingFormat": JSON}
    seen: set[str] = set()
    for name, role in (("record.json", "record"), ("job.json", "spec")):
        seen.add(str(job[role]))
        yield {"@id": _place(job[role]), "@type": "File", "name": name, "encodingFormat": JSON}
    for role, folder in (("output", "outputs"), ("code", "code")):
        for entry in trees[role].entries if role in trees else ():
            if entry.kind is EntryKind.FILE and entry.digest not in seen:
                seen.add(entry.digest)
                yield {
                    "@id": _place(entry.digest),
                    "@type": "File",
                    "name": f"{folder}/{shown(entry.path)}",
                    "contentSize": str(entry.size_bytes),
                }


def _place(digest: Digest) -> str:
    return f"blobs/{digest.removeprefix('b3:')}"


def _iso(at_us: int) -> str:
    return datetime.fromtimestamp(at_us // 1_000_000, UTC).isoformat()
