"""NumPy's .npy and .npz, element by element, a chunk at a time.

Headers are read as NumPy reads them, with a bound; object arrays (they hold pickles) are refused.
What a header promises is believed only as far as bytes come: nothing is allocated by its word but a
chunk. Cost: about the time to read both files.
"""

from __future__ import annotations

import contextlib
import lzma
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from tokenize import TokenError
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from zenkei.data.compare.tally import Array, Tally, Unreadable
from zenkei.model.verdict import Finding

CHUNK_BYTES = 1 << 22
MOST_HEADER = 10_000
MOST_ITEM_BYTES = 1 << 16
MOST_MEMBERS = 100_000
BROKEN = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, NotImplementedError,
    ValueError, RuntimeError, OverflowError, KeyError, OSError,
)  # fmt: skip
"""What `zipfile` raises for archives that are none. What a disk refuses is refused again when the

bytes are compared.
"""
MALFORMED = (
    ValueError, TypeError, SyntaxError, RecursionError, MemoryError, OverflowError, TokenError,
    *BROKEN,
)  # fmt: skip
"""What NumPy raises for headers that are none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """What an array's header says. is_fortran: columns first."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    is_fortran: bool

    @property
    def count(self) -> int:
        count = 1
        for side in self.shape:
            count *= side
        return count


def compare_npy(a: IO[bytes], b: IO[bytes], tolerance: float) -> Finding:
    """Raises Unreadable if one of the two is no array, or one of objects."""
    tally = Tally(tolerance)
    compare_arrays(a, b, tally, "")
    return tally.finding()


def compare_npz(a: IO[bytes], b: IO[bytes], tolerance: float) -> Finding:
    """By name of array, in the order of the first file; dates inside the archive do not count."""
    tally = Tally(tolerance)
    with _archive(a) as left, _archive(b) as right:
        names, others = _members(left), set(_members(right))
        for name in names:
            if name not in others:
                tally.differs(name, "an array that only the first has")
                continue
            with _opened(left, name) as x, _opened(right, name) as y:
                compare_arrays(x, y, tally, name.removesuffix(".npy"))
        for name in sorted(others - set(names)):
            tally.differs(name, "an array that only the second has")
    return tally.finding()


def compare_arrays(a: IO[bytes], b: IO[bytes], tally: Tally, name: str) -> None:
    """Add two arrays to `tally`. name: empty for the only one of its file."""
    x, y = read_head(a), read_head(b)
    for what in ("shape", "dtype"):
        if getattr(x, what) != getattr(y, what):
            tally.differs(name, what, str(getattr(x, what)), str(getattr(y, what)))
            return
    if x.is_fortran != y.is_fortran:
        tally.differs(name, "order in memory", _order(x), _order(y))
        return
    start = 0
    for left, right in zip(_chunks(a, x), _chunks(b, y), strict=True):
        count = len(left) // x.dtype.itemsize
        if left == right:
            tally.compared += count * len(x.dtype.names or ("",))
        else:
            one, other = np.frombuffer(left, x.dtype), np.frombuffer(right, x.dtype)
            _add(one, other, tally, name, x, start)
        start += count
    if a.read(1) or b.read(1):
        raise Unreadable("more bytes follow an array than its header says")


def element(name: str, shape: tuple[int, ...], at: int, *, is_fortran: bool = False) -> str:
    """`weights[3, 4]`."""
    if not shape:
        return name or "the value"
    place = np.unravel_index(at, shape, order="F" if is_fortran else "C")
    return f"{name}[{', '.join(str(int(i)) for i in place)}]"


def read_head(file: IO[bytes]) -> Head:
    """Raises Unreadable."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # files that Python 2 wrote
            shape, is_fortran, dtype = _header(file)
    except MALFORMED as error:
        raise Unreadable(f"no NumPy array: {str(error)[:100]}") from error
    if dtype.hasobject:
        raise Unreadable("it holds Python objects, which are never loaded")
    if dtype.subdtype is not None:
        raise Unreadable("an array of arrays")
    if not 0 < dtype.itemsize <= MOST_ITEM_BYTES:
        raise Unreadable(f"elements of {dtype.itemsize} bytes")
    if any(type(side) is not int or not 0 <= side < 1 << 62 for side in shape) or len(shape) > 64:
        raise Unreadable("a shape that no array has")
    return Head(shape=tuple(shape), dtype=dtype, is_fortran=bool(is_fortran))


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = npy.read_magic(file)
    if version == (1, 0):
        return npy.read_array_header_1_0(file, max_header_size=MOST_HEADER)
    if version == (2, 0):
        return npy.read_array_header_2_0(file, max_header_size=MOST_HEADER)
    raise ValueError(f"an array of format {version}")


def _add(a: Array, b: Array, tally: Tally, name: str, head: Head, start: int) -> None:
    if a.dtype.names is not None:
        for field in a.dtype.names:
            if a.dtype[field].subdtype is not None or a.dtype[field].names is not None:
                raise Unreadable("an array of nested records")

            def where(i: int, field: str = field) -> str:
                return f"{element(name, head.shape, start + i)}.{field}"

            tally.numbers(a[field], b[field], where)
        return
    if a.dtype.kind == "V":
        a, b = (one.view(f"S{one.dtype.itemsize}") for one in (a, b))
    tally.numbers(a, b, lambda i: element(name, head.shape, start + i, is_fortran=head.is_fortran))


def _chunks(file: IO[bytes], head: Head) -> Iterator[bytes]:
    left = head.count
    most = max(1, CHUNK_BYTES // head.dtype.itemsize)
    while left:
        size = min(left, most)
        yield _exactly(file, size * head.dtype.itemsize)
        left -= size


def _exactly(file: IO[bytes], size: int) -> bytes:
    pieces, found = [], 0
    while found < size:
        try:
            piece = file.read(size - found)
        except BROKEN as error:
            raise Unreadable(f"a damaged archive: {error}") from error
        if not piece:
            raise Unreadable("it ends before its last element")
        pieces.append(piece)
        found += len(piece)
    return b"".join(pieces)


def _order(head: Head) -> str:
    return "Fortran" if head.is_fortran else "C"


@contextlib.contextmanager
def _archive(file: IO[bytes]) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(file) as archive:
            yield archive
    except BROKEN as error:
        raise Unreadable(f"no sound archive: {str(error)[:100]}") from error


def _members(archive: zipfile.ZipFile) -> list[str]:
    names = [info.filename for info in archive.infolist()]
    if len(names) > MOST_MEMBERS or len(set(names)) != len(names):
        raise Unreadable("an archive with too many names, or one of them twice")
    return names


def _opened(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    try:
        return archive.open(name)
    except BROKEN as error:
        raise Unreadable(f"a member that cannot be read: {str(error)[:100]}") from error
