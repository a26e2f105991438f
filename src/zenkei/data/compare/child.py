"""`ports.comparing.Comparer`: each comparison in a process of its own. Named by the root.

A process that dies (too much memory, a limit) is reported as such; nothing is taken for a verdict.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from zenkei.data.blobs_dir import DirectoryBlobs
from zenkei.data.manifest import FILE_MODE, canonical, parse
from zenkei.model.data import Digest, Entry, EntryKind
from zenkei.model.errors import (
    InternalError,
    InvalidInput,
    NotFound,
    Unavailable,
    ZenkeiError,
)
from zenkei.model.verdict import Comparison, Difference, Finding, Tolerance, Verdict
from zenkei.ports.comparing import CodeChange, Left

log = logging.getLogger("zenkei.data")

NOT_PASSED = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONINSPECT")
MOST_S = 6 * 3600.0
READ_BYTES = 1 << 20
LOOK = "look.py"
QUESTION = "question.json"
Json = dict[str, Any]


class ChildComparer:
    """scratch: a directory for what is copied out of streams; made if it is not there."""

    def __init__(self, blobs: DirectoryBlobs, scratch: Path) -> None:
        self._blobs = blobs
        self._scratch = scratch

    def compare(
        self,
        a: Left,
        b: Left,
        tolerance: Tolerance,
        looked_into: Mapping[str, Finding] | None = None,
    ) -> Comparison:
        self._scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._scratch, prefix="compare-") as folder:
            given = None
            if looked_into is not None:
                given = {path: asdict(finding) for path, finding in looked_into.items()}
            found = self._run(
                {
                    "do": "compare",
                    "a": _side(a, Path(folder) / "a"),
                    "b": _side(b, Path(folder) / "b"),
                    "tolerance": asdict(tolerance),
                    "looked_into": given,
                }
            )
        return comparison_of(found)

    def code(self, a: Digest, b: Digest) -> tuple[CodeChange, ...]:
        found = self._run({"do": "code", "a": a, "b": b})
        return tuple(CodeChange(**change) for change in found["files"])

    def torch_job(self, a: Digest, b: Digest, paths: Mapping[str, float]) -> Digest:
        entries = [
            replace(entry, path=f"{side}/{entry.path}")
            for side, manifest in (("a", a), ("b", b))
            for entry in parse(self._blobs.get(manifest)).entries
            if entry.path in paths
        ]
        program = Path(__file__).with_name("torch_look.py").read_bytes()
        question = json.dumps({"files": sorted(paths.items())}).encode()
        with self._blobs.batch() as batch:
            for path, content in ((LOOK, program), (QUESTION, question)):
                entries.append(
                    Entry(
                        path=path,
                        kind=EntryKind.FILE,
                        mode=FILE_MODE,
                        size_bytes=len(content),
                        digest=batch.add(content),
                    )
                )
            tree = batch.add(canonical(entries))
            batch.commit()
        return tree

    def _run(self, order: Json) -> Json:
        argv = [sys.executable, "-P", "-m", "zenkei.data.compare"]
        line = json.dumps({**order, "store": str(self._blobs.root)}) + "\n"
        environ = {k: v for k, v in os.environ.items() if k not in NOT_PASSED}
        try:
            done = subprocess.run(
                argv,
                input=line.encode(),
                capture_output=True,
                check=False,
                timeout=MOST_S,
                env=environ,
                cwd="/",
            )
        except subprocess.TimeoutExpired as error:
            raise _died(f"it was ended after {MOST_S / 3600:g} hours") from error
        try:
            answer = json.loads(done.stdout.splitlines()[-1])
        except (IndexError, ValueError) as error:
            told = done.stderr.decode("utf-8", "replace").strip().splitlines()
            log.error("comparison died code=%s stderr=%s", done.returncode, "\n".join(told[-30:]))
            raise _died(f"it ended with {done.returncode}") from error
        if "error" in answer:
            raise _said(answer["error"])
        found: Json = answer["ok"]
        return found


def _died(why: str) -> Unavailable:
    return Unavailable(
        "compare-died",
        f"the process that compares files and metrics gave no answer: {why}",
        hint="it may have needed more memory or time than it is given; leave large files out with "
        "--ignore, or look into daemon.log",
    )


def _said(body: Json) -> ZenkeiError:
    """The error that the process reported, of its class."""
    kinds: dict[str, type[ZenkeiError]] = {kind.__name__: kind for kind in (NotFound, InvalidInput)}
    kind = kinds.get(str(body.get("kind")), InternalError)
    return kind(str(body["code"]), str(body["message"]), hint=str(body.get("hint", "")))


def comparison_of(found: Json) -> Comparison:
    """From the dict that the child prints."""
    first = found["first"]
    return Comparison(
        **{
            **found,
            "verdict": Verdict(found["verdict"]),
            "first": None if first is None else Difference(**first),
            "others": tuple(Difference(**one) for one in found["others"]),
            "notes": tuple(found["notes"]),
            "torch": tuple(found["torch"]),
        }
    )


def _side(left: Left, folder: Path) -> Json:
    folder.mkdir()
    metrics = []
    for (rank, attempt), read in left.metrics.items():
        path = folder / f"{rank}-{attempt}"
        with path.open("wb") as file:
            offset = 0
            while data := read(offset, READ_BYTES):
                file.write(data)
                offset += len(data)
        metrics.append([rank, attempt, str(path)])
    return {"manifest": left.output, "metrics": metrics}
