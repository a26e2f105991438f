"""A manifest's tree on disk: complete or absent, verified, inside its directory whatever it says.

Called by `tree.checkout`. Files are made through directory descriptors that follow no link, links
after all files, so a hostile manifest writes nowhere else.

Ideal: make the tree anew each time. Departure: a tree that this module has made before is taken as
it is if nothing in it was touched since: beside it lies a record (`.<name>.made`) of every file's
stamps. ctime cannot be set by a user, so a job that alters its code is seen, and the altered tree
is moved aside and made anew. After a reboot contents are compared instead (so no fsync is needed).
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

import orjson
from blake3 import blake3

from zenkei.data import disk, reasons
from zenkei.data.blobs_dir import DirectoryBlobs
from zenkei.data.contents import stamp
from zenkei.data.fill import fill
from zenkei.data.manifest import FILE_MODE, PROGRAM_MODE, leaves_tree, link_map, path_bytes
from zenkei.data.walk import Chain, Everything, open_root, walk
from zenkei.model.data import EntryKind, Manifest
from zenkei.model.errors import Conflict

BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
CONDEMNED: Final = ".condemned"
MAKING: Final = ".making"


def checkout(blobs: DirectoryBlobs, manifest: Manifest, to: Path) -> None:
    """Make `to` (absent, empty, or made by an earlier call) the manifest's exact copy."""
    refuse_leaving_links(manifest)
    to = to.absolute()
    with disk.disk_errors(to):
        to.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with disk.locked(lock_of(blobs, to), exclusive=True):
            if _is_made(manifest, to):
                return
            _make_room(to)
            working = Path(tempfile.mkdtemp(prefix=f".{to.name}.", suffix=MAKING, dir=to.parent))
            try:
                fill(blobs, manifest.entries, working)
                working.chmod(0o755)
                _write_record(blobs, manifest, working, to)
                os.rename(working, to)
            except BaseException:
                shutil.rmtree(working, ignore_errors=True)
                raise


def refuse_leaving_links(manifest: Manifest) -> None:
    """Raises InvalidInput: code must not reach out of its tree when it is unpacked."""
    links = link_map(manifest.entries)
    leaving = [path for path in links if leaves_tree(path, links)]
    if leaving:
        raise reasons.links_leave([(path, links[path]) for path in leaving])


def differences(manifest: Manifest, at: Path) -> list[str]:
    """Paths at which the tree in `at` is not what the manifest says; reads every file."""
    wanted = {entry.path: entry for entry in manifest.entries}
    descriptor = open_root(at, follow=False)
    chain = Chain(descriptor)
    try:
        found = walk(descriptor, Everything())
        wrong = [out.path for out in found.left_out]
        seen: set[str] = set()
        for path, info in sorted(found.files):
            seen.add(path)
            entry = wanted.get(path)
            mode = PROGRAM_MODE if info.st_mode & 0o100 else FILE_MODE
            if (
                entry is None
                or entry.kind is not EntryKind.FILE
                or (mode, info.st_size) != (entry.mode, entry.size_bytes)
                or _digest_at(chain, path) != entry.digest
            ):
                wrong.append(path)
        others = dict(found.links) | dict.fromkeys(found.empty, "")
        for path, target in others.items():
            seen.add(path)
            entry = wanted.get(path)
            if entry is None or entry.kind is EntryKind.FILE or entry.target != target:
                wrong.append(path)
    finally:
        chain.close()
        os.close(descriptor)
    return sorted(wrong + [path for path in wanted if path not in seen])


def lock_of(blobs: DirectoryBlobs, to: Path) -> Path:
    """Held while `to` is made or removed; one of 256, so that locks need no collection."""
    return blobs.locks / blake3(os.fsencode(to)).hexdigest()[:2]


def record_of(to: Path) -> Path:
    """The record beside a tree that this module has made."""
    return to.parent / f".{to.name}.made"


def move_aside(to: Path) -> Path:
    """Take a made tree out of the way under its lock; processes in it keep their directory."""
    aside = Path(tempfile.mkdtemp(prefix=f".{to.name}.", suffix=CONDEMNED, dir=to.parent))
    os.rename(to, aside)
    record_of(to).unlink(missing_ok=True)
    return aside


def _is_made(manifest: Manifest, to: Path) -> bool:
    record = record_of(to)
    if not (record.exists() and to.is_dir() and not to.is_symlink()):
        return False
    written = record.read_bytes()
    if written == _state(manifest, to):
        os.utime(record)  # in use: not to be collected for the time of a grace
        return True
    if written.startswith(_boot_line(manifest)) or differences(manifest, to):
        return False
    record.write_bytes(_state(manifest, to))
    return True


def _make_room(to: Path) -> None:
    if not os.path.lexists(to):
        return
    if record_of(to).exists():
        move_aside(to)
        return
    if to.is_symlink() or not to.is_dir() or any(to.iterdir()):
        raise Conflict(
            "not-empty",
            f"{to} exists and was not made from a stored tree",
            hint="name a directory that does not exist or is empty",
            details={"path": str(to)},
        )
    to.rmdir()


def _write_record(blobs: DirectoryBlobs, manifest: Manifest, working: Path, to: Path) -> None:
    """Before the rename: a tree without its record is never ours, whatever the crash."""
    file = disk.Temporary(to.parent)
    try:
        disk.write_all(file.descriptor, _state(manifest, working))
        file.rename(record_of(to))
    finally:
        file.discard()


def _boot_line(manifest: Manifest) -> bytes:
    boot = BOOT_ID.read_text().strip() if BOOT_ID.exists() else ""
    return f"{manifest.digest} {boot}\n".encode()


def _state(manifest: Manifest, at: Path) -> bytes:
    """Changes whenever anything below `at` was written, replaced, added or removed."""
    descriptor = open_root(at, follow=False)
    try:
        found = walk(descriptor, Everything())
    finally:
        os.close(descriptor)
    rows = sorted(
        [path_bytes(path).hex(), info.st_mode, *stamp(info)] for path, info in found.files
    )
    others = sorted(path_bytes(f"{path}\0{target}").hex() for path, target in found.links)
    empty = sorted(path_bytes(path).hex() for path in found.empty)
    special = sorted(path_bytes(out.path).hex() for out in found.left_out)
    return _boot_line(manifest) + orjson.dumps([rows, others, empty, special])


def _digest_at(chain: Chain, path: str) -> str:
    directory, _, name = path.rpartition("/")
    hasher = blake3()
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path_bytes(name), flags, dir_fd=chain.at(directory))
    try:
        while chunk := os.read(descriptor, 1 << 20):
            hasher.update(chunk)
    finally:
        os.close(descriptor)
    return f"b3:{hasher.hexdigest()}"
