"""Versions of datasets made from a few words: rows, packs, no depot and no directory needed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from blake3 import blake3

from zenkei.data.digests import digest_of
from zenkei.data.versions import container
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


class _Packs:
    """Small contents together, each start padded to 512 bytes; large ones in packs of their own."""

    def __init__(self, piece_bytes: int, pack_bytes: int) -> None:
        self._piece_bytes, self._pack_bytes = piece_bytes, pack_bytes
        self._shared = -1
        self.packs: list[bytearray] = []
        self.pieces: list[tuple[int, int, int, int]] = []

    def add(self, row: int, data: bytes) -> None:
        if len(data) > self._piece_bytes:
            for start in range(0, len(data), self._piece_bytes):
                part = bytearray(data[start : start + self._piece_bytes])
                self.pieces.append((row, len(self.packs), 0, len(part)))
                self.packs.append(part)
        elif data:
            if self._shared < 0 or len(self.packs[self._shared]) > self._pack_bytes:
                self._shared = len(self.packs)
                self.packs.append(bytearray())
            pack = self.packs[self._shared]
            pack += bytes(-len(pack) % 512)
            self.pieces.append((row, self._shared, len(pack), len(data)))
            pack += data


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
    rows = sorted((path.rpartition(b"/")[0], path.rpartition(b"/")[2]) for path in tree)
    contents = [tree[folder + b"/" + name if folder else name] for folder, name in rows]
    kept = _Packs(piece_bytes, pack_bytes)
    data = [each.content if isinstance(each, Program) else each for each in contents]
    files = [each if isinstance(each, bytes) else b"" for each in data]
    for row, content in enumerate(files):
        kept.add(row, content)
    every = [blake3(pack).hexdigest() for pack in kept.packs]
    names = list(dict.fromkeys(every))  # equal packs are one
    packs = [kept.packs[every.index(name)] for name in names]
    pieces = [(row, names.index(every[pack]), *place) for row, pack, *place in kept.pieces]
    digests = [blake3(x).digest() if isinstance(x, bytes) else bytes(32) for x in data]
    index = {path: number for number, path in enumerate(folders)}
    table = VersionTable(
        digest=digest_of(b""),
        directories=tuple(folders),
        parents=np.array([index[folder] for folder, _ in rows], dtype=np.uint32),
        name_data=b"".join(name for _, name in rows),
        name_starts=np.cumsum([0, *(len(name) for _, name in rows)], dtype=np.uint64),
        kinds=np.array([_kind(each) for each in contents], dtype=np.uint8),
        modes=np.array([_mode(each) for each in contents], dtype=np.uint16),
        sizes=np.array([len(each) for each in files], dtype=np.uint64),
        digests=np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, 32),
        targets={row: each.target for row, each in enumerate(contents) if isinstance(each, Link)},
        packs=tuple(names),
        pack_sizes=np.array([len(pack) for pack in packs], dtype=np.uint64),
        pieces=np.array(pieces, dtype=PIECE),
    )
    return container.sealed(table), dict(zip(names, map(bytes, packs), strict=True))


def _kind(content: Content) -> Kind:
    if isinstance(content, Link):
        return Kind.LINK
    return Kind.DIRECTORY if content is EMPTY_DIRECTORY else Kind.FILE


def _mode(content: Content) -> int:
    if isinstance(content, Link):
        return 0o777
    return 0o755 if content is EMPTY_DIRECTORY or isinstance(content, Program) else 0o644
