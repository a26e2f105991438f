"""`python -m zenkei.data.compare`: compares in a process of its own. Started by `child` only.

stdin: one line of JSON. stdout: one line, `{"ok": …}` or `{"error": {code, message, hint}}`. Files
are read whole once before they are looked into, so that a damaged store is never taken for a
difference. Memory and time are limited: what strangers' files make of the libraries ends here.

    {"do": "compare", "store": DIR, "a": SIDE, "b": SIDE, "tolerance": {…}, "looked_into": {…}|null}
    SIDE: {"manifest": DIGEST or "", "metrics": [[rank, attempt, FILE], …]}
    {"do": "code", "store": DIR, "a": DIGEST or "", "b": DIGEST or ""}
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import json
import os
import resource
import signal
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from zenkei.data.blobs_dir import DirectoryBlobs
from zenkei.data.compare.code import compare_code
from zenkei.data.compare.files import compare_files
from zenkei.data.compare.series import Key, Series, compare_series, decode, joined
from zenkei.data.digests import to_raw
from zenkei.data.manifest import parse
from zenkei.model.data import Digest, Entry, EntryKind
from zenkei.model.errors import InternalError, ZenkeiError
from zenkei.model.verdict import Comparison, Difference, Finding, Tolerance, Verdict, finite, worst

MOST_MEMORY_BYTES = 8 << 30
MOST_CPU_S = 4 * 3600
MOST_TOLD = 20
PR_SET_PDEATHSIG = 1
NICENESS = 10
"""Jobs on this machine come first."""
Json = dict[str, Any]


class Contents:
    """The store's files, seekable, each verified before it is read for the first time."""

    def __init__(self, root: Path) -> None:
        self._blobs = DirectoryBlobs(root)
        self._sound: set[Digest] = set()

    def entries(self, manifest: str) -> tuple[Entry, ...]:
        return parse(self._blobs.get(Digest(manifest))).entries if manifest else ()

    def read(self, entry: Entry) -> bytes:
        return self._blobs.get(entry.digest)

    def open(self, entry: Entry) -> IO[bytes]:
        path = self._blobs.object_path(to_raw(entry.digest))
        if not path.exists():
            return io.BytesIO(self._blobs.get(entry.digest))
        if entry.digest not in self._sound:
            with self._blobs.open(entry.digest) as file:
                while file.read(1 << 20):
                    pass
            self._sound.add(entry.digest)
        return path.open("rb")


def compare(order: Json) -> Json:
    """A `Comparison` as a dict."""
    contents = Contents(Path(order["store"]))
    tolerance = tolerance_of(order["tolerance"])
    metrics = compare_series(_series(order["a"]), _series(order["b"]), tolerance)
    left, right = (contents.entries(order[side]["manifest"]) for side in ("a", "b"))
    given = order["looked_into"]
    looked_into = None if given is None else {path: finding_of(f) for path, f in given.items()}
    torch, notes = [], []
    seen: list[Finding] = []
    files: list[tuple[Verdict, Difference]] = []
    for path, finding in compare_files(left, right, contents.open, tolerance, looked_into):
        if finding is None:
            torch.append(path)
            continue
        seen.append(finding)
        if finding.note:
            notes.append(f"{path}: {finding.note}")
        if finding.verdict is not Verdict.IDENTICAL:
            files.append((finding.verdict, _of_file(path, finding)))
    both = [*((metrics.verdict, d) for d in metrics.differences), *files]
    verdict = worst([metrics.verdict, *(v for v, _ in files)])
    told = [d for v, d in both if v is verdict] + [d for v, d in both if v is not verdict]
    comparison = Comparison(
        verdict=verdict,
        first=told[0] if told else None,
        others=tuple(told[1:MOST_TOLD]),
        metrics=metrics.metrics,
        points=metrics.points,
        files=len([e for e in left if e.kind is EntryKind.FILE and not tolerance.ignores(e.path)]),
        size_bytes=sum(e.size_bytes for e in left),
        relative=finite(max([metrics.relative, *(f.relative for f in seen)])),
        absolute=finite(max([metrics.absolute, *(f.absolute for f in seen)])),
        notes=tuple(notes[:MOST_TOLD]),
        torch=tuple(torch),
    )
    return asdict(comparison)


def code(order: Json) -> Json:
    """`{"files": [FileChange, …]}`."""
    contents = Contents(Path(order["store"]))
    left, right = (contents.entries(order[side]) for side in ("a", "b"))
    return {"files": [asdict(change) for change in compare_code(left, right, contents.read)]}


def tolerance_of(found: Json) -> Tolerance:
    named = tuple((str(pattern), float(t)) for pattern, t in found["named"])
    return Tolerance(
        everywhere=float(found["everywhere"]), named=named, ignored=tuple(found["ignored"])
    )


def finding_of(found: Json) -> Finding:
    return Finding(**{**found, "verdict": Verdict(found["verdict"])})


def _series(side: Json) -> dict[Key, Series]:
    by_rank: dict[int, list[tuple[int, str]]] = {}
    for rank, attempt, path in side["metrics"]:
        by_rank.setdefault(rank, []).append((attempt, path))
    found: dict[Key, Series] = {}
    for rank, streams in sorted(by_rank.items()):
        attempts = (decode(Path(path).read_bytes()) for _, path in sorted(streams))
        found |= {(rank, name): series for name, series in joined(attempts).items()}
    return found


def _of_file(path: str, finding: Finding) -> Difference:
    return Difference(
        kind="file",
        name=path,
        where=finding.where,
        why=finding.why,
        a=finding.a,
        b=finding.b,
        relative=finite(finding.relative),
        absolute=finite(finding.absolute),
    )


DO = {"compare": compare, "code": code}


def main(lines: Iterable[str]) -> int:
    """The exit code."""
    with contextlib.suppress(OSError, AttributeError):
        # who waits for the answer is the daemon: without it nobody wants it any more
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.nice(NICENESS)
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY_BYTES, MOST_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (MOST_CPU_S, MOST_CPU_S + 10))
    order = json.loads(next(iter(lines)))
    try:
        answer: Json = {"ok": DO[order["do"]](order)}
    except MemoryError:
        error = InternalError("compare-failed", "files take more memory to compare than is allowed")
        answer = {"error": _said(error)}
    except ZenkeiError as error:
        answer = {"error": _said(error)}
    # texts with lone surrogates (names that are no UTF-8) travel as escapes
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
    return 0 if "ok" in answer else 1


def _said(error: ZenkeiError) -> Json:
    kind = type(error).__name__
    return {"kind": kind, "code": error.code, "message": str(error), "hint": error.hint}


if __name__ == "__main__":
    sys.exit(main(sys.stdin))
