"""Versions of datasets made from a few words: rows, packs, no depot and no directory needed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from blake3 import blake3

from zenkei.data.digests import digest_of
from zenkei.data.versions.table import PIECE, Kind, VersionTable

EMPTY_DIRECTORY = None


@dataclass(frozen=True)
class Link:
    target: bytes


@dataclass(frozen=True)
class Program:
    content: bytes


Content = bytes | Link | Program | None
Tree = dict[bytes, Content]


def ancestors(path: bytes) -> list[bytes]:
    parts = path.split(b"/")[:-1]
    return [b"/".join(parts[:depth]) for depth in range(len(parts) + 1)]


def version(
    tree: Tree, *, piece_bytes: int = 1 << 20, pack_bytes: int = 1 << 16, listed: bool = True
) -> tuple[VersionTable, dict[str, bytes]]:
    """The table and its packs by name. A file beyond `piece_bytes` gets packs of its own.

    listed: empty directories stand among the directories as well as among the rows.
    """
    directories = {above for path in tree for above in ancestors(path)} | {b""}
    if listed:
        directories |= {path for path, content in tree.items() if content is EMPTY_DIRECTORY}
    folders = sorted(directories)
    index = {path: number for number, path in enumerate(folders)}
    rows = sorted((path.rpartition(b"/")[0], path.rpartition(b"/")[2]) for path in tree)
    kinds, modes, sizes, digests, targets = [], [], [], [], {}
    pieces: list[tuple[int, int, int, int]] = []
    packs: list[bytearray] = []
    shared = -1
    for row, (folder, name) in enumerate(rows):
        content = tree[folder + b"/" + name if folder else name]
        mode = 0o755 if isinstance(content, Program) else 0o644
        data = content.content if isinstance(content, Program) else content
        modes.append(mode)
        if not isinstance(data, bytes):
            kinds.append(Kind.LINK if isinstance(data, Link) else Kind.DIRECTORY)
            if isinstance(data, Link):
                targets[row] = data.target
            sizes.append(0)
            digests.append(bytes(32))
            continue
        kinds.append(Kind.FILE)
        sizes.append(len(data))
        digests.append(blake3(data).digest())
        if len(data) > piece_bytes:
            for start in range(0, len(data), piece_bytes):
                part = data[start : start + piece_bytes]
                pieces.append((row, len(packs), 0, len(part)))
                packs.append(bytearray(part))
            continue
        if not data:
            continue
        if shared < 0 or len(packs[shared]) > pack_bytes:
            shared = len(packs)
            packs.append(bytearray())
        packs[shared] += bytes(-len(packs[shared]) % 512)
        pieces.append((row, shared, len(packs[shared]), len(data)))
        packs[shared] += data
    names = [blake3(pack).hexdigest() for pack in packs]
    lengths = [len(name) for _, name in rows]
    table = VersionTable(
        digest=digest_of(repr((rows, kinds, modes, sizes, digests, targets)).encode()),
        directories=tuple(folders),
        parents=np.array([index[folder] for folder, _ in rows], dtype=np.uint32),
        name_data=b"".join(name for _, name in rows),
        name_starts=np.cumsum([0, *lengths], dtype=np.uint64),
        kinds=np.array(kinds, dtype=np.uint8),
        modes=np.array(modes, dtype=np.uint16),
        sizes=np.array(sizes, dtype=np.uint64),
        digests=np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, 32),
        targets=targets,
        packs=tuple(names),
        pack_sizes=np.array([len(pack) for pack in packs], dtype=np.uint64),
        pieces=np.array(pieces, dtype=PIECE),
    )
    return table, dict(zip(names, map(bytes, packs), strict=True))
