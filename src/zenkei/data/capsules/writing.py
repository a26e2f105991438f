"""A finished job with all that it came from, as one file. Called by `zenkei.data.capsules`.

Streamed: a content at a time through 1 MiB, datasets by packs of 64 MiB. The file comes about
beside its place under a name of its own, is synced, and only then gets its name; a killed one
leaves `.NAME.….part` behind. The same job gives the same bytes. Cost: reads and hashes all once.
"""

from __future__ import annotations

import json
import os
import stat
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from zenkei.data import disk
from zenkei.data.blobs_dir import DirectoryBlobs
from zenkei.data.capsules.archive import CRATE, INDEX, ArchiveWriter
from zenkei.data.capsules.closure import Closure
from zenkei.data.capsules.crate import crate
from zenkei.data.capsules.versions import repacked
from zenkei.data.depots.opening import open_depot
from zenkei.data.versions import container
from zenkei.data.versions.requests import load
from zenkei.model.errors import Conflict, InvalidInput

Said = Callable[[str, int, int | None, int], None]
FORMAT = 1


def write(order: Mapping[str, Any], said: Said) -> dict[str, Any]:
    """order: blobs, depot, job, data (entries as `capsule.json` has them), to, overwrite."""
    to = Path(order["to"])
    with disk.disk_errors(to):
        try:
            _look(to, overwrite=bool(order.get("overwrite")))
            descriptor, part = tempfile.mkstemp(
                dir=to.parent, prefix=f".{to.name[:100]}.", suffix=".part"
            )
        except OSError as error:
            if error.errno in disk.FULL:
                raise
            raise _not_writable(to, error) from error
        try:
            with os.fdopen(descriptor, "wb") as file:
                found = _written(file, order, said)
                file.flush()
                os.fsync(file.fileno())
                found["size_bytes"] = os.fstat(file.fileno()).st_size
            _name(part, to, overwrite=bool(order.get("overwrite")))
        finally:
            with suppress(FileNotFoundError):
                os.unlink(part)
        disk.sync_directory(to.parent)
    return found


def _written(file: BinaryIO, order: Mapping[str, Any], said: Said) -> dict[str, Any]:
    blobs = DirectoryBlobs(Path(order["blobs"]))
    job, data = order["job"], order["data"]
    closure = Closure(job, lambda digest, _most: blobs.get(digest))
    wanted = sorted({one["digest"] for one in data if one["included"]})
    # before the depot is opened here: its clients do not survive the forks
    tables = {digest: load(order["depot"], digest) for digest in wanted}
    writer = ArchiveWriter(file)
    total, done = len(closure.sizes) + sum(len(t.packs) for t in tables.values()), 0
    for digest in sorted(closure.sizes):
        with blobs.open(digest) as content:
            writer.add(f"blobs/{digest.removeprefix('b3:')}", content.read)
        done += 1
        said("write", done, total, file.tell())

    def put(name: str, content: bytes | bytearray) -> None:
        nonlocal done
        if f"packs/{name}" not in writer.entries:
            writer.add_bytes(f"packs/{name}", content)
        done += 1
        said("write", done, None, file.tell())

    if tables:
        depot = open_depot(order["depot"])
        for digest, table in tables.items():
            if table.mtimes_ns is not None:
                raise _by_reference(next(one["name"] for one in data if one["digest"] == digest))
            placed = repacked(table, depot, put)
            name = f"versions/{digest.removeprefix('b3:')}"
            writer.add_bytes(name, container.write(placed, packed=False))
    names = [f"{one['name']}@{one['digest']}" for one in data]
    writer.add_bytes(CRATE, crate(job, closure.trees, names))
    entries = [[one.name, one.size, writer.digests[one.name]] for one in writer.entries.values()]
    document = {"zenkei": "capsule", "format": FORMAT, "job": job, "data": data, "entries": entries}
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    capsule = writer.add_bytes(INDEX, text.encode("ascii"))
    writer.finish()
    return {"capsule": capsule, "contents": len(closure.sizes), "versions": len(tables)}


def _name(part: str, to: Path, *, overwrite: bool) -> None:
    if overwrite:
        os.replace(part, to)
        return
    try:
        os.link(part, to)
    except FileExistsError:
        raise _is_there(to) from None


def _look(to: Path, *, overwrite: bool) -> None:
    """Only a file, or a link to something, may be replaced: no directory, no device."""
    if not os.path.lexists(to):
        return
    if not overwrite:
        raise _is_there(to)
    mode = to.lstat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISLNK(mode):
        raise Conflict(
            "file-exists",
            f"`{to}` is {'a directory' if stat.S_ISDIR(mode) else 'no file'}: it is not replaced",
            hint="name a file with -o, one in that directory for example",
        )


def _by_reference(name: str) -> InvalidInput:
    return InvalidInput(
        "data-by-reference",
        f"the dataset `{name}` is kept by reference: its files cannot go into a capsule",
        hint="--without-data leaves data out; or commit the files, then run the job anew",
    )


def _is_there(to: Path) -> Conflict:
    return Conflict(
        "file-exists",
        f"`{to}` is there already",
        hint="name another file with -o, or add --force to replace it",
    )


def _not_writable(to: Path, error: OSError) -> InvalidInput:
    return InvalidInput(
        "not-writable",
        f"`{to}` cannot be written: {os.strerror(error.errno or 0)}",
        hint="name a file in a directory that is there and that you may write to, with -o",
    )
