"""Two lists of files, by path and kind: which differ, and where first.

Called by the process of `__main__` and by tests. The kind of a file is told by its name; files with
the same digest are not read. Checkpoints of PyTorch are pickles: they are named, and a job in the
environment that wrote them looks into them (`control.reproduce`). Cost: reading what differs.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import IO, cast

from zenkei.data.compare.arrays import compare_npy, compare_npz
from zenkei.data.compare.documents import compare_json, compare_lines
from zenkei.data.compare.plain import compare_bytes
from zenkei.data.compare.tables import compare_csv
from zenkei.data.compare.tally import Unreadable
from zenkei.data.compare.tensors import compare_safetensors
from zenkei.model.data import Entry, EntryKind
from zenkei.model.verdict import NO_NUMBER, Finding, Tolerance, Verdict

Compare = Callable[[IO[bytes], IO[bytes], float], Finding]
Open = Callable[[Entry], IO[bytes]]
KINDS: dict[str, Compare] = {
    ".npy": compare_npy,
    ".npz": compare_npz,
    ".safetensors": compare_safetensors,
    ".json": compare_json,
    ".jsonl": compare_lines,
    ".ndjson": compare_lines,
    ".csv": compare_csv,
    ".tsv": partial(compare_csv, tabs=True),
}
SEEKING = frozenset({".npz", ".safetensors"})
TORCH = frozenset({".pt", ".pth", ".ckpt", ".bin"})
PICKLES = frozenset({".pkl", ".pickle", ".joblib"})
NEVER_LOADED = "Python objects are never loaded: compared by its bytes"


def compare_files(
    a: Iterable[Entry],
    b: Iterable[Entry],
    open_: Open,
    tolerance: Tolerance,
    looked_into: Mapping[str, Finding] | None = None,
) -> Iterator[tuple[str, Finding | None]]:
    """What is not the same, in the order of paths; None: a job with PyTorch must look into it.

    looked_into: what such a job has found; with it nothing is None.
    """
    left, right = ({entry.path: entry for entry in side} for side in (a, b))
    for path in sorted(left.keys() | right.keys()):
        x, y = left.get(path), right.get(path)
        if x == y or tolerance.ignores(path):
            continue
        if x is None or y is None:
            side = "first" if x else "second"
            yield path, _unlike(f"only the {side} has it")
        elif x.kind != y.kind:
            yield path, _unlike("kind", x.kind, y.kind)
        elif x.kind is EntryKind.LINK:
            yield path, _unlike("target", x.target, y.target)
        elif x.digest != y.digest:
            yield path, _content(x, y, open_, tolerance.of(path), looked_into)
        else:
            yield path, _unlike("mode", f"{x.mode:04o}", f"{y.mode:04o}")


def suffix_of(path: str) -> tuple[str, bool]:
    """Its kind by name, and whether it is compressed on top."""
    name = path.rpartition("/")[2].lower()
    zipped = name.endswith(".gz")
    name = name.removesuffix(".gz")
    dot = name.rfind(".")
    return (name[dot:] if dot >= 0 else ""), zipped


def _content(
    x: Entry, y: Entry, open_: Open, tolerance: float, looked_into: Mapping[str, Finding] | None
) -> Finding | None:
    suffix, zipped = suffix_of(x.path)
    if suffix in TORCH and not zipped and _is_torch(x, open_) and _is_torch(y, open_):
        if looked_into is None:
            return None
        if x.path in looked_into:
            return looked_into[x.path]
    compare, note = KINDS.get(suffix), ""
    if suffix in PICKLES:
        note = NEVER_LOADED
    if compare is not None and not (zipped and suffix in SEEKING):
        try:
            return _as_kind(x, y, open_, tolerance, compare, zipped=zipped)
        except Unreadable as error:
            note = f"compared by its bytes: {error}"
    with open_(x) as left, open_(y) as right:
        return compare_bytes(left, right, note)


def _as_kind(
    x: Entry, y: Entry, open_: Open, tolerance: float, compare: Compare, *, zipped: bool
) -> Finding:
    with open_(x) as left, open_(y) as right:
        if not zipped:
            return compare(left, right, tolerance)
        try:
            with gzip.GzipFile(fileobj=left) as inner, gzip.GzipFile(fileobj=right) as other:
                return compare(cast("IO[bytes]", inner), cast("IO[bytes]", other), tolerance)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise Unreadable(f"no sound archive: {error}") from error


def _is_torch(entry: Entry, open_: Open) -> bool:
    """An archive or a pickle, as `torch.save` writes them."""
    with open_(entry) as file:
        return file.read(2) in (b"PK", b"\x80\x02")


def _unlike(why: str, a: str = "", b: str = "") -> Finding:
    return Finding(
        verdict=Verdict.DIFFERENT,
        why=why,
        a=a,
        b=b,
        differing=1,
        relative=NO_NUMBER,
        absolute=NO_NUMBER,
    )
