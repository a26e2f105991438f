"""What a version's columns may say. Called by `container.read`; raises InvalidInput for the rest.

A version comes from a depot that others may write, or from a capsule that anybody made: no path
leaves the tree, stands twice or lies below a file, no link leads out, no piece lies outside its
pack. Cost: by columns where there is a row a file, 1 µs a directory and 5 µs a link otherwise.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from zenkei.data.manifest import leaves_tree, path_text, shown
from zenkei.data.pack import ALIGNMENT
from zenkei.data.versions.table import Kind, VersionTable
from zenkei.model.errors import InvalidInput

FILE_MODE: Final = 0o644
PROGRAM_MODE: Final = 0o755
MAX_NAME_BYTES: Final = 255
MAX_PATH_BYTES: Final = 4096
MAX_SIZE_BYTES: Final = 1 << 60
MAX_PACK_BYTES: Final = 1 << 32
WORD: Final = 8


def refused(why: str) -> InvalidInput:
    return InvalidInput(
        "bad-version",
        f"this version of a dataset is refused: {why}",
        hint="versions are written by zenkei only; this one is damaged, was altered, or is of a "
        "newer zenkei; `zenkei dataset verify` looks at all of them",
    )


def check(table: VersionTable) -> None:
    """Whether such a tree can exist, and its places too."""
    _check_directories(table)
    check_names(table.name_data, table.name_starts)
    _check_order(table)
    _check_nesting(table)
    _check_rows(table)
    check_links(table)
    _check_pieces(table)


def _check_directories(table: VersionTable) -> None:
    directories = table.directories
    if not directories or directories[0]:
        raise refused("it has no root")
    known = {b""}
    last = b""
    for path in directories[1:]:
        parent, _, name = path.rpartition(b"/")
        path_is_inside = parent in known and not path.startswith(b"/")
        if path <= last or not path_is_inside or not _is_name(name) or b"\0" in path:
            raise refused(f"the directory `{_shown(path)}` is not one of a sorted tree")
        if len(path) > MAX_PATH_BYTES:
            raise refused(f"the directory `{_shown(path)}` has too long a path")
        known.add(path)
        last = path


def _is_name(name: bytes) -> bool:
    return 0 < len(name) <= MAX_NAME_BYTES and name not in {b".", b".."}


def check_names(data: bytes, starts: NDArray[np.uint64]) -> None:
    """Each is one component of a path."""
    if b"/" in data or b"\0" in data:
        raise refused("a name has a `/` or a zero in it")
    lengths = np.diff(starts)
    if (lengths == 0).any():
        raise refused("a name is empty")
    short = np.flatnonzero(lengths <= 2).tolist()
    for row in short:
        name = data[int(starts[row]) : int(starts[row + 1])]
        if name in {b".", b".."}:
            raise refused(f"a name is `{name.decode()}`")


def _check_order(table: VersionTable) -> None:
    """Names of a directory rise strictly: compared eight bytes at a time, all pairs at once."""
    if len(table) < 2:
        return
    left: NDArray[Any] = np.flatnonzero(table.parents[1:] == table.parents[:-1])
    padded = np.frombuffer(table.name_data + bytes(WORD), np.uint8)
    words = np.ndarray((len(table.name_data) + 1,), ">u8", padded.data, 0, (1,))
    starts = table.name_starts.astype(np.int64)
    at = 0
    while left.size:
        one = _word(words, starts, left, at)
        other = _word(words, starts, left + 1, at)
        if (one > other).any():
            raise refused("its names are not sorted")
        left = left[one == other]
        at += WORD
        if left.size and (starts[left + 2] - starts[left + 1] < at).any():
            same = int(left[0])
            raise refused(f"the path `{_shown(table.path(same))}` appears twice")


def _word(
    words: NDArray[Any], starts: NDArray[np.int64], rows: NDArray[np.intp], at: int
) -> NDArray[np.uint64]:
    """Bytes `at` to `at + 8` of each name as a number; zeros after its end."""
    begin = starts[rows] + at
    rest = np.clip(starts[rows + 1] - begin, 0, WORD).astype(np.uint64)
    value = words[np.minimum(begin, len(words) - 1)].astype(np.uint64)
    cut = np.uint64(WORD) * (np.uint64(WORD) - rest)
    kept = (value >> np.minimum(cut, np.uint64(63))) << np.minimum(cut, np.uint64(63))
    return np.where(rest == 0, np.uint64(0), kept)


def _check_nesting(table: VersionTable) -> None:
    """No directory has the path of a file or link; the empty ones have rows, and only those."""
    index = {path: own for own, path in enumerate(table.directories)}
    bounds = np.searchsorted(table.parents, np.arange(len(index) + 1)).tolist()
    below: dict[int, list[bytes]] = {}
    for path in table.directories[1:]:
        parent, _, name = path.rpartition(b"/")
        below.setdefault(index[parent], []).append(name)
    empty: set[bytes] = set()
    for above, names in below.items():
        rows = range(bounds[above], bounds[above + 1])
        found = {table.name(row): row for row in rows}
        for row in [found[name] for name in names if name in found]:
            if table.kinds[row] != Kind.DIRECTORY:
                raise refused(f"`{_shown(table.path(row))}` is a directory and something else")
            empty.add(table.path(row))
    if len(empty) != int((table.kinds == Kind.DIRECTORY).sum()):
        raise refused("a row of a directory has no directory")
    for path, own in index.items():
        is_empty = bounds[own] == bounds[own + 1] and own not in below and path != b""
        if is_empty != (path in empty):
            raise refused(f"the directory `{_shown(path)}` is not as empty as it says")


def _check_rows(table: VersionTable) -> None:
    is_file = table.kinds == Kind.FILE
    if len(table.sizes) != len(table) or (table.sizes[~is_file] != 0).any():
        raise refused("it does not have a size for each file")
    if table.sizes.size and (
        int(table.sizes.max()) >= MAX_SIZE_BYTES
        or float(table.sizes.sum(dtype=np.float64)) >= float(1 << 62)
    ):
        raise refused("a file is larger than files can be")
    if table.mtimes_ns is None:
        if table.origin:
            raise refused("it names a place of its content without being by reference")
        return
    if len(table.mtimes_ns) != len(table) or not table.origin.startswith(b"/"):
        raise refused("it is by reference and does not say where its content lies")
    if b"\0" in table.origin or b".." in table.origin.split(b"/"):
        raise refused("the place of its content is no place")
    if len(table.pieces) or table.packs:
        raise refused("it is by reference and has packs")


def check_links(table: VersionTable) -> None:
    links = {path_text(table.path(row)): path_text(to) for row, to in table.targets.items()}
    for path, target in links.items():
        if not target or "\0" in target or len(target) > MAX_PATH_BYTES:
            raise refused(f"the link `{shown(path)}` has a target that cannot be")
        if leaves_tree(path, links):
            raise refused(f"the link `{shown(path)}` leads out of the tree")


def _check_pieces(table: VersionTable) -> None:
    """Each file is there from its first byte to its last, within packs that are that long."""
    pieces = table.pieces
    if len(table.pack_sizes) != len(table.packs) or len(set(table.packs)) != len(table.packs):
        raise refused("its packs are not complete, or one stands twice")
    if len(table.packs) and int(table.pack_sizes.max()) > MAX_PACK_BYTES:
        raise refused("a pack is larger than packs can be")
    if table.mtimes_ns is not None:
        return
    if len(pieces):
        if (pieces["row"][1:] < pieces["row"][:-1]).any() or pieces["row"][-1] >= len(table):
            raise refused("its pieces are not sorted")
        if int(pieces["pack"].max()) >= len(table.packs):
            raise refused("a piece lies in no pack")
        if (pieces["size"] == 0).any() or (pieces["offset"] % ALIGNMENT != 0).any():
            raise refused("a piece is empty, or does not begin where pieces do")
        room = table.pack_sizes[pieces["pack"]]
        if (pieces["offset"] > room).any() or (pieces["size"] > room - pieces["offset"]).any():
            raise refused("a piece does not lie in its pack")
    total = np.zeros(len(table), np.uint64)
    np.add.at(total, pieces["row"], pieces["size"])
    if (total != table.sizes).any():
        raise refused("the pieces of a file are not as long as the file")


def _shown(path: bytes) -> str:
    return shown(path_text(path[:200]))
