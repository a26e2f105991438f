"""What somebody else wrote as a version of a dataset is believed only if such a tree can be."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from blake3 import blake3

from tests.dataset_trees import table_of
from zenkei.data.versions import container
from zenkei.data.versions.table import VersionTable
from zenkei.model.errors import InvalidInput

GOOD = table_of({b"a": b"1", b"b/c": b"2" * 600, b"b/d": ("link", b"c"), b"e": None})


def renamed(old: bytes, new: bytes) -> VersionTable:
    """Same lengths, so the columns stay right."""
    assert len(old) == len(new)
    return replace(GOOD, name_data=GOOD.name_data.replace(old, new))


def column(name: str, row: int, value: Any) -> VersionTable:
    changed = getattr(GOOD, name).copy()
    changed[row] = value
    return replace(GOOD, **{name: changed})


def piece(name: str, row: int, value: int) -> VersionTable:
    pieces = GOOD.pieces.copy()
    pieces[name][row] = value
    return replace(GOOD, pieces=pieces)


HOSTILE: dict[str, Callable[[], VersionTable]] = {
    "a name with a slash": lambda: renamed(b"a", b"/"),
    "a name with a zero": lambda: renamed(b"a", b"\0"),
    "a name that is the directory itself": lambda: renamed(b"a", b"."),
    "a path twice": lambda: renamed(b"cd", b"cc"),
    "names that are not sorted": lambda: renamed(b"cd", b"dc"),
    "a directory above the tree": lambda: replace(GOOD, directories=(b"", b"..", b"e")),
    "an absolute directory": lambda: replace(GOOD, directories=(b"", b"/b", b"e")),
    "a directory without the one above it": lambda: replace(GOOD, directories=(b"", b"b/x", b"e")),
    "directories that are not sorted": lambda: replace(GOOD, directories=(b"", b"e", b"b")),
    "no root": lambda: replace(GOOD, directories=(b"b", b"e", b"f")),
    "a file where a directory is": lambda: renamed(b"a", b"b"),
    "an empty directory that is none": lambda: replace(GOOD, directories=(b"", b"b", b"f")),
    "a link up and out": lambda: replace(GOOD, targets={2: b"../../x"}),
    "an absolute link": lambda: replace(GOOD, targets={2: b"/etc/passwd"}),
    "a link without a target": lambda: replace(GOOD, targets={2: b""}),
    "a file larger than files can be": lambda: column("sizes", 0, 1 << 63),
    "a file that is not as long as its pieces": lambda: column("sizes", 0, 2),
    "a piece beyond its pack": lambda: piece("offset", 1, 1024),
    "a piece whose end wraps round": lambda: piece("size", 1, (1 << 64) - 511),
    "a piece in a pack that is not there": lambda: piece("pack", 0, 1),
    "a piece that begins between blocks": lambda: piece("offset", 1, 511),
    "a piece of a row that is not there": lambda: piece("row", 1, 9),
    "a pack larger than packs can be": lambda: column("pack_sizes", 0, 1 << 40),
    "a pack twice": lambda: replace(
        GOOD, packs=GOOD.packs * 2, pack_sizes=np.repeat(GOOD.pack_sizes, 2)
    ),
    "a place of the content of a version that has its own": lambda: replace(GOOD, origin=b"/etc"),
    "a place of the content that climbs": lambda: referenced(b"/data/../etc"),
    "a place of the content that is relative": lambda: referenced(b"data"),
}


def referenced(origin: bytes) -> VersionTable:
    return replace(
        GOOD,
        mtimes_ns=np.zeros(len(GOOD), np.int64),
        origin=origin,
        packs=(),
        pack_sizes=GOOD.pack_sizes[:0],
        pieces=GOOD.pieces[:0],
    )


def test_the_version_that_the_hostile_ones_are_made_of_is_read():
    assert container.read(container.write(GOOD)).digest == GOOD.digest
    assert container.read(container.write(referenced(b"/data"))).origin == b"/data"


@pytest.mark.parametrize("why", HOSTILE)
def test_a_version_is_refused_that_has(why: str):
    content = container.write(HOSTILE[why]())
    with pytest.raises(InvalidInput) as caught:
        container.read(content)
    assert caught.value.code == "bad-version"


def with_sections(change: Callable[[list[list[Any]], list[bytes]], None]) -> bytes:
    """GOOD with other sections under a header that is right for them."""
    content = container.write(GOOD, packed=False)
    (size,) = struct.unpack("<I", content[8:12])
    listed = json.loads(content[12 : 12 + size])["sections"]
    bodies, at = [], 12 + size + 32
    for item in listed:
        bodies.append(content[at : at + item[2]])
        at += item[2]
    change(listed, bodies)
    for item, body in zip(listed, bodies, strict=False):
        item[2], item[4] = len(body), blake3(body).hexdigest()
    header = json.dumps({"sections": listed}).encode()
    start = b"zkversn1" + struct.pack("<I", len(header)) + header + blake3(header).digest()
    return start + b"".join(bodies)


def bomb(listed: list[list[Any]], bodies: list[bytes]) -> None:
    """Small when packed, and larger than it says."""
    at = [item[0] for item in listed].index("names")
    listed[at][3] = "zlib"
    bodies[at] = zlib.compress(bytes(50 << 20))


def large(listed: list[list[Any]], bodies: list[bytes]) -> None:
    listed[0][1] = 1 << 45


def negative(listed: list[list[Any]], bodies: list[bytes]) -> None:
    listed[0][1] = -1


def foreign(listed: list[list[Any]], bodies: list[bytes]) -> None:
    listed[0][3] = "pickle"


def missing(listed: list[list[Any]], bodies: list[bytes]) -> None:
    del listed[3], bodies[3]


def odd(listed: list[list[Any]], bodies: list[bytes]) -> None:
    bodies[2] += b"\0"
    listed[2][1] += 1


@pytest.mark.parametrize("change", [bomb, large, negative, foreign, missing, odd])
def test_sections_are_refused_that_are(change: Callable[..., None]):
    with pytest.raises(InvalidInput) as caught:
        container.read(with_sections(change))
    assert caught.value.code == "bad-version"


def test_nothing_is_allocated_for_a_size_that_is_only_claimed():
    with pytest.raises(InvalidInput):
        container.read(container.write(GOOD), max_raw_bytes=100)


@pytest.mark.parametrize("content", [b"", b"zkversn1", b"zkversn1\xff\xff\xff\xff", b"PK\x03\x04"])
def test_what_is_no_version_at_all_is_refused(content: bytes):
    with pytest.raises(InvalidInput) as caught:
        container.read(content)
    assert caught.value.code == "bad-version"


def test_the_digest_is_that_of_the_content_whatever_the_packs():
    moved = replace(
        GOOD,
        packs=("cd" * 32,),
        pack_sizes=GOOD.pack_sizes + np.uint64(512),
        pieces=piece("offset", 0, 1024).pieces,
    )
    assert container.read(container.write(moved)).digest == GOOD.digest
    assert container.canonical_digest(column("modes", 0, 0o755)) != GOOD.digest
    assert container.canonical_digest(column("digests", 0, 7)) != GOOD.digest
    assert container.canonical_digest(renamed(b"a", b"0")) != GOOD.digest


def test_the_same_tree_has_the_same_digest_as_when_this_was_written():
    known = "b3:6025387fa1e061d6d695bf98b19febf7c7701d13a8fa217bdc306b9f50b4e97e"
    assert GOOD.digest == known


def test_the_packs_of_a_version_are_told_only_if_nothing_in_it_is_damaged():
    content = bytearray(container.write(GOOD))
    assert container.pack_names(bytes(content)) == GOOD.packs
    for at in range(12, len(content), 37):
        content[at] ^= 1
        with pytest.raises(InvalidInput):
            container.pack_names(bytes(content))
        content[at] ^= 1
