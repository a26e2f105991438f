"""The pieces of a checkpoint, wherever the ranks of several nodes left them, as one tree.

Called by `tree.gather`. Every file keeps the name under which it was saved, so that a program finds
it again below another directory. Nodes that saved the same name share it if the content is the
same; otherwise the later node's piece stands below `node-<rank>/`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from zenkei.data import reasons
from zenkei.data.batch import Batch
from zenkei.data.contents import Read, read_files
from zenkei.data.manifest import (
    FILE_MODE,
    PROGRAM_MODE,
    leaves_tree,
    link_map,
    path_bytes,
    path_text,
)
from zenkei.data.walk import OPEN_DIRECTORY, Chain, Everything, open_root, walk
from zenkei.model.data import Entry, EntryKind
from zenkei.ports.trees import Piece

_NODE: Final = "node-"


def gather(pieces: Iterable[Piece], batch: Batch) -> list[Entry]:
    """Raises InvalidInput for what cannot be read, or a link that leads out."""
    found: dict[str, Entry] = {}
    for piece in pieces:
        added = _entries(piece, batch)
        prefix = f"{_NODE}{piece.node}/" if _clash(added, found) else ""
        while prefix and any(path.startswith(prefix) for path in found):
            prefix = prefix[:-1] + "_/"
        found.update({prefix + e.path: replace(e, path=prefix + e.path) for e in added})
    entries = list(found.values())
    links = link_map(entries)
    leaving = [path for path in sorted(links) if leaves_tree(path, links)]
    if leaving:
        raise reasons.links_leave([(path, links[path]) for path in leaving])
    return entries


def _entries(piece: Piece, batch: Batch) -> list[Entry]:
    """By descriptors from the checkpoint directory down: no component is a link."""
    path = path_text(os.fsencode(piece.path))
    folder, _, name = path.rpartition("/")
    root = open_root(piece.place, follow=False)
    chain = Chain(root)
    try:
        parent = _at(chain, folder)
        inside = _open_directory(parent, name, path)
        if inside is None:
            return [_file(path, read_files(parent, [name], batch)[name])]
        try:
            return _directory(path, inside, batch)
        finally:
            os.close(inside)
    finally:
        chain.close()
        os.close(root)


def _open_directory(parent: int, name: str, path: str) -> int | None:
    """A descriptor; None if it is no directory (a link is none either)."""
    try:
        return os.open(path_bytes(name), OPEN_DIRECTORY, dir_fd=parent)
    except NotADirectoryError:
        return None
    except OSError as error:
        raise reasons.cannot_read(path, error) from error


def _at(chain: Chain, folder: str) -> int:
    try:
        return chain.at(folder)
    except OSError as error:
        raise reasons.cannot_read(folder, error) from error


def _directory(path: str, descriptor: int, batch: Batch) -> list[Entry]:
    found = walk(descriptor, Everything())
    if found.left_out:
        raise reasons.not_a_file(f"{path}/{found.left_out[0].path}", found.left_out[0].why)
    read = read_files(descriptor, (name for name, _ in found.files), batch)
    entries = [_file(f"{path}/{name}", one) for name, one in read.items()]
    entries += [
        Entry(path=f"{path}/{name}", kind=EntryKind.LINK, target=target)
        for name, target in found.links
    ]
    entries += [Entry(path=f"{path}/{name}", kind=EntryKind.DIRECTORY) for name in found.empty]
    return entries or [Entry(path=path, kind=EntryKind.DIRECTORY)]


def _file(path: str, read: Read) -> Entry:
    mode = PROGRAM_MODE if read.info.st_mode & 0o100 else FILE_MODE
    size = read.info.st_size
    return Entry(path=path, kind=EntryKind.FILE, mode=mode, size_bytes=size, digest=read.digest)


def _clash(added: list[Entry], found: Mapping[str, Entry]) -> bool:
    """Whether a name would mean two things, or a file would have to be a directory too."""
    above = {parent for path in found for parent in _parents(path)}
    for entry in added:
        if found.get(entry.path, entry) != entry or entry.path in above:
            return True
        if any(parent in found for parent in _parents(entry.path)):
            return True
    return False


def _parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:depth]) for depth in range(1, len(parts))]
