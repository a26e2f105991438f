"""Which files of a dataset are for training, and in what order: the same on every machine.

Called by `sdk.data` inside a job and by `data.versions.jobindex` beside it; `sdk.data_numpy` gives
the same by columns. Pure, standard library, Python 3.8 and later. All numbers are little endian.

**Split.** What is kept together is a unit. With `by: file` all files of the same content are one
unit, so that no content is on two sides; with `by: group` all files below one directory of the top
are (a file at the top is in no group, and is treated as with `by: file`). A unit has a word of 64
bits: the first 8 bytes of the file's BLAKE3, or of the BLAKE2b-64 of the group's name. Its value is

    key   = first 8 bytes of SHAKE-256("zenkei split 1\\n" seed "\\n"), seed in decimal digits
    x     = word ^ key
    x     = (x ^ x >> 30) * 0xbf58476d1ce4e5b9 mod 2^64
    x     = (x ^ x >> 27) * 0x94d049bb133111eb mod 2^64
    value =  x ^ x >> 31

Units are sorted by value and cut at `round(units * (f1 + ... + fj))`, halves upwards, fractions as
the decimals that were written: each part has its exact share, rounded down or up. Cuts grow with
the units by 0 or 1, which largest remainders do not, so **a unit that is added or removed moves at
most one other over each border**, and a part that is divided later keeps what it had before.

**Order.** `order(n, seed, epoch)` sorts 0 ... n - 1 by the n words of 8 bytes of
SHAKE-256("zenkei order 1\\n" seed "\\n" epoch "\\n"); equal words stay in order of their numbers.

The seed hides nothing: who knows it can make a file that lands on a side of their choice.
Cost of a million: about 2 s each; with NumPy 0.2 s. Test vectors: tests/unit/protocol.
"""

from __future__ import annotations

import hashlib
import sys
from array import array
from bisect import bisect_right
from fractions import Fraction
from typing import Any, Iterable, NamedTuple

BY_FILE, BY_GROUP = "file", "group"
MASK = (1 << 64) - 1
FIRST, SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
MAX_PARTS = 1000
MAX_NAME_BYTES = 64
_ROUNDING = Fraction(1, 10**9)
"""By so much may the fractions exceed 1: thirds and the like are never written exactly."""


class Split(NamedTuple):
    """parts: name and fraction of each, in the order of the job file. by: `file` or `group`."""

    parts: tuple[tuple[str, float], ...]
    seed: int = 0
    by: str = BY_FILE


class Shuffle(NamedTuple):
    seed: int = 0
    epoch: int = 0


def check(split: Split) -> Split:
    """The same. Raises ValueError if there can be none like it."""
    if split.by not in (BY_FILE, BY_GROUP):
        raise ValueError(f"a split is by `file` or `group`, not by {split.by!r}")
    if not 0 < len(split.parts) <= MAX_PARTS:
        raise ValueError(f"a split has 1 to {MAX_PARTS} parts, not {len(split.parts)}")
    if not -(1 << 63) <= split.seed < 1 << 63:
        raise ValueError(f"a seed has at most 64 bits: {split.seed}")
    seen = set()
    for name, fraction in split.parts:
        size = len(name.encode("utf-8", "surrogatepass"))
        if name in seen or not 0 < size <= MAX_NAME_BYTES or not name.isprintable():
            raise ValueError(f"a part cannot have the name {name[:80]!a}, or not twice")
        if not 0 < fraction <= 1:
            raise ValueError(f"the part `{name}` is a fraction above 0 and up to 1: {fraction}")
        seen.add(name)
    if _shares(split)[-1] > 1 + _ROUNDING:
        total = float(_shares(split)[-1])
        raise ValueError(f"the parts of a split are 1 together at most, not {total}")
    return split


def cuts(units: int, split: Split) -> list[int]:
    """After how many units each part ends."""
    return [min(units, int(units * share + Fraction(1, 2))) for share in _shares(split)]


def split_key(seed: int) -> int:
    text = f"zenkei split 1\n{seed}\n".encode("ascii")
    return int.from_bytes(hashlib.shake_256(text).digest(8), "little")


def values(words: Iterable[int], key: int) -> list[int]:
    """Where each unit stands, by its word."""
    first, second, mask = FIRST, SECOND, MASK
    found = []
    for word in words:
        x = word ^ key
        x = (x ^ (x >> 30)) * first & mask
        x = (x ^ (x >> 27)) * second & mask
        found.append(x ^ (x >> 31))
    return found


def group_word(name: bytes) -> int:
    """That of a group, or of a file whose content nobody has read: by its path."""
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "little")


def divide(words: Iterable[int], split: Split) -> list[array[int]]:
    """For each part the indices into `words` that it has, ascending."""
    found = values(words, split_key(split.seed))
    units = sorted(set(found))
    if len(split.parts) == 1 and cuts(len(units), split) == [len(units)]:
        return [array("I", range(len(found)))]
    borders = borders_of(units, split)
    parts = [array("I") for _ in range(len(split.parts) + 1)]
    adders = [part.append for part in parts]
    for index, value in enumerate(found):
        adders[bisect_right(borders, value)](index)
    return parts[:-1]


def borders_of(units: Any, split: Split) -> list[int]:
    """The first value behind each part. units: distinct values, ascending, list or array."""
    ends = cuts(len(units), split)
    return [int(units[end]) if end < len(units) else MASK + 1 for end in ends]


def order(count: int, seed: int = 0, epoch: int = 0) -> array[int]:
    """A permutation of 0 ... count - 1."""
    return array("I", sorted(range(count), key=order_words(count, seed, epoch).__getitem__))


def order_words(count: int, seed: int, epoch: int) -> array[int]:
    """By them `order` sorts."""
    words = array("Q", hashlib.shake_256(order_text(seed, epoch)).digest(8 * count))
    if sys.byteorder == "big":
        words.byteswap()
    return words


def order_text(seed: int, epoch: int) -> bytes:
    return f"zenkei order 1\n{seed}\n{epoch}\n".encode("ascii")


def _shares(split: Split) -> list[Fraction]:
    """Fractions summed up; the decimals that Python writes are the same since version 3.1."""
    total, found = Fraction(0), []
    for _name, fraction in split.parts:
        total += Fraction(repr(float(fraction)))
        found.append(total)
    return found
