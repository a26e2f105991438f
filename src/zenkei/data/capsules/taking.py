"""A capsule's content into the stores of this installation. Called by `python -m …capsules`.

`look` checks all that can be checked without reading contents, and writes nothing: the file's form,
its list, that it has what its job needs and nothing else, that there is room. `take` does it again,
stores every content, each compared with its digest before it has a name, then the versions of
datasets. What `take` leaves is named by nobody: a later collection removes what a killed one left,
and a repetition finds it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from zenkei.data import disk
from zenkei.data.blobs_dir import DirectoryBlobs
from zenkei.data.capsules import versions
from zenkei.data.capsules.archive import CRATE, INDEX, Archive, refused
from zenkei.data.capsules.closure import MOST_BYTES, Closure
from zenkei.data.capsules.writing import FORMAT
from zenkei.data.depots.opening import open_depot
from zenkei.data.digests import digest_of
from zenkei.data.manifest import canonical
from zenkei.data.versions.keeper import Keeper
from zenkei.data.versions.table import Kind, VersionTable
from zenkei.model.data import Digest, Entry, EntryKind, Manifest, is_digest
from zenkei.model.errors import Conflict, NotAvailable, Unavailable

Said = Callable[[str, int, int | None, int], None]
MOST_INDEX_BYTES: Final = 512 << 20
SMALL_BYTES: Final = 256 << 10
BATCH_BYTES: Final = 256 << 20
BATCH_FILES: Final = 256
RESERVE_BYTES: Final = 64 << 20
ORIGIN: Final = "origin.json"
STREAM: Final = re.compile(r"[1-9][0-9]{0,8}/[a-z][a-z0-9-]{0,99}/[0-9]{6,9}")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Checked:
    """tables: of the datasets in it, by digest."""

    archive: Archive
    capsule: Digest
    document: dict[str, Any]
    closure: Closure
    tables: dict[str, VersionTable]


def look(order: Mapping[str, Any], _said: Said) -> dict[str, Any]:
    """order: path, blobs, depot. What the capsule says of its job, all of its digests proved to be

    in it; not whether contents have their digests.
    """
    with Archive(Path(order["path"])) as archive:
        found = _checked(archive)
        _check_room(found, order)
        spec = archive.read(_place(found.document["job"]["spec"]), most=MOST_BYTES["spec"])
        return {
            "capsule": found.capsule,
            "job": found.document["job"],
            "data": found.document["data"],
            "spec": spec.decode("utf-8", "surrogateescape"),
            "size_bytes": archive.size,
            "contents": len(found.closure.sizes),
            "output": _counted(found.closure.trees.get("output")),
            "versions": {
                digest: {
                    "files": int((table.kinds == Kind.FILE).sum()),
                    "size_bytes": table.size_bytes,
                }
                for digest, table in found.tables.items()
            },
        }


def take(order: Mapping[str, Any], said: Said) -> dict[str, Any]:
    """order: as in `look`; `capsule`: which was looked at; `origin`: text of `origin.json`."""
    with Archive(Path(order["path"])) as archive:
        found = _checked(archive)
        if found.capsule != order["capsule"]:
            raise Conflict(
                "capsule-changed",
                f"`{order['path']}` became another one while it was imported",
                hint="import it again when nobody writes to it any more",
            )
        # forks before anything else is opened
        with Keeper(order["depot"]) if found.tables else nullcontext() as keeper:
            blobs = DirectoryBlobs(Path(order["blobs"]))
            _take_blobs(found, blobs, said)
            origin = _origin(found, blobs, str(order["origin"]))
            if keeper is not None:
                keeper.begin()
                depot = open_depot(order["depot"])
                done = total = 0
                for table in found.tables.values():
                    for size in versions.take(archive, table, keeper, depot):
                        done, total = done + 1, total + size
                        said("import data", done, None, total)
    return {"capsule": found.capsule, "origin": origin}


def _counted(output: Manifest | None) -> dict[str, int]:
    entries = output.entries if output is not None else ()
    return {
        "files": sum(entry.kind is EntryKind.FILE for entry in entries),
        "size_bytes": sum(entry.size_bytes for entry in entries),
    }


def _origin(found: _Checked, blobs: DirectoryBlobs, text: str) -> Digest:
    """The tree that the job's row names: its streams, and where they came from."""
    with blobs.batch() as batch:
        content = text.encode()
        entry = Entry(
            path=ORIGIN,
            kind=EntryKind.FILE,
            size_bytes=len(content),
            digest=batch.add(content),
        )
        tree = batch.add(canonical([*found.closure.trees["streams"].entries, entry]))
        batch.commit()
    return tree


def _checked(archive: Archive) -> _Checked:
    content = archive.read(INDEX, most=MOST_INDEX_BYTES)
    document = _document(content)
    listed = _listed(document)
    for name, found in archive.entries.items():
        if name == INDEX:
            continue
        if name not in listed:
            raise refused(f"`{name}` is not in its list")
        if listed[name][0] != found.size:
            raise refused(f"`{name}` has another size than its list says")
    if lacking := sorted(listed.keys() - archive.entries.keys()):
        raise refused(f"`{lacking[0]}` is in its list and missing")
    if digest_of(archive.read(CRATE, most=MOST_INDEX_BYTES)) != listed[CRATE][1]:
        raise refused(f"`{CRATE}` does not have its digest")
    closure = Closure(document["job"], lambda digest, most: _blob(archive, digest, most))
    for entry in closure.trees["streams"].entries:
        if entry.kind is not EntryKind.FILE or not STREAM.fullmatch(entry.path):
            raise refused("what was kept of its attempts has a name that cannot be")
    tables = {
        digest: versions.read_version(archive, digest, listed)
        for digest in sorted({one["digest"] for one in document["data"] if one["included"]})
    }
    _check_complete(archive, closure, tables)
    return _Checked(
        archive=archive,
        capsule=digest_of(content),
        document=document,
        closure=closure,
        tables=tables,
    )


def _document(content: bytes) -> dict[str, Any]:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or document.get("zenkei") != "capsule":
        raise refused("its list cannot be read")
    if document.get("format") != FORMAT:
        raise NotAvailable(
            "capsule-too-new",
            f"this capsule has format {str(document.get('format'))[:20]}, {FORMAT} is understood",
            hint="import it with the version of zenkei that has written it, or a newer one",
        )
    data = document.get("data")
    is_sound = isinstance(data, list) and all(
        isinstance(one, dict)
        and is_digest(str(one.get("digest")))
        and type(one.get("included")) is bool
        for one in data
    )
    if not is_sound or not isinstance(document.get("job"), dict):
        raise refused("its list does not say what its job is")
    return document


def _listed(document: dict[str, Any]) -> dict[str, tuple[int, Digest]]:
    rows = document.get("entries")
    if not isinstance(rows, list):
        raise refused("it has no list")
    listed: dict[str, tuple[int, Digest]] = {}
    for row in rows:
        match row:
            case [str(name), int(size), str(digest)] if is_digest(digest):
                pass
            case _:
                raise refused("a line of its list cannot be read")
        kind, _, own = name.partition("/")
        if kind in ("blobs", "packs") and digest != f"b3:{own}":
            raise refused(f"`{name}` is not named by its digest")
        if name in listed:
            raise refused(f"`{name}` stands twice in its list")
        listed[name] = (size, Digest(digest))
    if CRATE not in listed:
        raise refused(f"it has no {CRATE}")
    return listed


def _check_complete(archive: Archive, closure: Closure, tables: dict[str, VersionTable]) -> None:
    """All that is needed is there, and nothing else."""
    needed: dict[str, int | None] = {INDEX: None, CRATE: None}
    needed.update((_place(digest), size) for digest, size in closure.sizes.items())
    for digest, table in tables.items():
        needed[f"versions/{digest.removeprefix('b3:')}"] = None
        needed.update((f"packs/{pack}", None) for pack in table.packs)
    if lacking := sorted(needed.keys() - archive.entries.keys()):
        raise refused(f"`{lacking[0]}`, which its job needs, is missing")
    if strange := sorted(archive.entries.keys() - needed.keys()):
        raise refused(f"nothing needs `{strange[0]}`")
    for name, size in needed.items():
        if size is not None and archive.entries[name].size != size:
            raise refused(f"`{name}` has another size than its manifest says")


def _check_room(found: _Checked, order: Mapping[str, Any]) -> None:
    """Nothing in it is compressed: it needs as much room as it has."""
    home, depot = Path(order["blobs"]), str(order["depot"]).removeprefix("file:")
    needed = {home: 0}
    for name, entry in found.archive.entries.items():
        is_data = not name.startswith("blobs/") and depot.startswith("/")
        place = Path(depot) if is_data else home
        needed[place] = needed.get(place, 0) + entry.size
    free = {place: disk.free_bytes(place) for place in needed}
    if len(set(free.values())) == 1:  # most likely the same disk: it must hold both
        needed = dict.fromkeys(needed, sum(needed.values()))
    for place, size in needed.items():
        if size + RESERVE_BYTES > free[place]:
            raise _no_room(place, size, free[place])


def _no_room(place: Path, size: int, free: int) -> Unavailable:
    return Unavailable(
        "disk-full",
        f"the capsule needs {size:,} bytes where {place} lies, {free:,} are free",
        hint="free some space (`zenkei du` shows what zenkei keeps, `zenkei prune` removes what "
        "nothing needs) or move ZENKEI_HOME to a larger file system",
        details={"path": str(place), "free_bytes": free},
    )


def _blob(archive: Archive, digest: Digest, most: int) -> bytes:
    content = archive.read(_place(digest), most=most)
    if digest_of(content) != digest:
        raise refused(f"`{_place(digest)}` does not have its digest")
    return content


def _take_blobs(found: _Checked, blobs: DirectoryBlobs, said: Said) -> None:
    names = [name for name in found.archive.entries if name.startswith("blobs/")]
    done = total = 0
    while done < len(names):
        with blobs.batch() as batch:
            size = 0
            for name in names[done : done + BATCH_FILES]:
                read, length = found.archive.reader(name), found.archive.entries[name].size
                if length <= SMALL_BYTES:
                    digest = batch.add(read(SMALL_BYTES))
                else:
                    digest, _ = batch.add_stream(read)
                if _place(digest) != name:
                    raise refused(f"`{name}` does not have its digest")
                done, size = done + 1, size + length
                said("import", done, len(names), total + size)
                if size > BATCH_BYTES:
                    break
            batch.commit()
            total += size


def _place(digest: str) -> str:
    return f"blobs/{digest.removeprefix('b3:')}"
