"""A manifest's content into a person's directory: what `zenkei result fetch` does.

Called through the server or client that fetches results. Everything is made in a temporary
directory beside the target first, so an export is complete or changes nothing, except that the
final renames of many files into an existing directory are one by one.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from pathlib import Path

from zenkei.data import disk
from zenkei.data.blobs_dir import DirectoryBlobs
from zenkei.data.fill import fill
from zenkei.data.manifest import leaves_tree, link_map, path_bytes, path_text, shown
from zenkei.data.walk import OPEN_DIRECTORY, Chain, open_root
from zenkei.model.data import Entry, EntryKind, Manifest
from zenkei.model.errors import Conflict
from zenkei.ports.trees import LeftOut

LEAVES = "a link that points out of the result"


def export(
    blobs: DirectoryBlobs, manifest: Manifest, to: Path, *, overwrite: bool = False
) -> tuple[LeftOut, ...]:
    """Write the tree to `to`; returns what was left out (links that point out of the tree).

    Raises Conflict, before anything is written, if a file is already there and `overwrite` is
    False. With `overwrite` files and links are replaced, directories never; other files stay.
    """
    to = to.absolute()
    links = link_map(manifest.entries)
    leaving = {path for path in links if leaves_tree(path, links)}
    entries = tuple(entry for entry in manifest.entries if entry.path not in leaving)
    with disk.disk_errors(to):
        to.parent.mkdir(parents=True, exist_ok=True)
        working = Path(tempfile.mkdtemp(prefix=f".{to.name}.", suffix=".fetching", dir=to.parent))
        try:
            if os.path.lexists(to) and not to.is_dir():
                _refuse([to.name], to.parent)
            if to.is_dir():
                _refuse(_in_the_way(entries, to, overwrite=overwrite), to)
            fill(blobs, entries, working)
            working.chmod(0o755)
            if to.is_dir():
                _merge(entries, working, to, overwrite=overwrite)
            else:
                os.rename(working, to)
        finally:
            shutil.rmtree(working, ignore_errors=True)
    return tuple(LeftOut(path=path, why=LEAVES) for path in sorted(leaving))


def _in_the_way(entries: tuple[Entry, ...], to: Path, *, overwrite: bool) -> list[str]:
    """Paths that may not be written. A link among the parents is in the way of what lies below."""
    root = open_root(to, follow=True)
    try:
        return [entry.path for entry in entries if not _is_free(root, entry, overwrite=overwrite)]
    finally:
        os.close(root)


def _is_free(root: int, entry: Entry, *, overwrite: bool) -> bool:
    descriptor = os.dup(root)
    *parents, name = path_bytes(entry.path).split(b"/")
    try:
        for parent in parents:
            try:
                child = os.open(parent, OPEN_DIRECTORY, dir_fd=descriptor)
            except FileNotFoundError:
                return True
            except OSError:
                return False  # a file or a link where a directory must be
            os.close(descriptor)
            descriptor = child
        try:
            info = os.lstat(name, dir_fd=descriptor)
        except FileNotFoundError:
            return True
        is_directory = stat.S_ISDIR(info.st_mode)
        return is_directory if entry.kind is EntryKind.DIRECTORY else overwrite and not is_directory
    finally:
        os.close(descriptor)


def _merge(entries: tuple[Entry, ...], working: Path, to: Path, *, overwrite: bool) -> None:
    """Each file or link whole, one after another."""
    source_root, target_root = open_root(working, follow=False), open_root(to, follow=True)
    sources, targets = Chain(source_root), Chain(target_root, make=True)
    try:
        for entry in entries:
            if entry.kind is EntryKind.DIRECTORY:
                targets.at(entry.path)
                continue
            folder, _, text = entry.path.rpartition("/")
            name, source, target = path_bytes(text), sources.at(folder), targets.at(folder)
            if overwrite:
                os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)
            else:  # fails where somebody was faster, so nothing is replaced unasked
                os.link(name, name, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
    finally:
        sources.close()
        targets.close()
        os.close(source_root)
        os.close(target_root)


def _refuse(paths: list[str], to: Path) -> None:
    if not paths:
        return
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    raise Conflict(
        "file-exists",
        f"`{shown(paths[0])}`{more} cannot be written in {shown(path_text(os.fsencode(to)))}: "
        "something is there already",
        hint="fetch into a new directory, or say that files may be overwritten",
        details={"paths": [shown(path) for path in paths[:20]]},
    )
