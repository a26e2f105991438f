"""Manifests: canonical bytes of a list of paths, and what a manifest may say. Pure.

Called by `tree` and `gc`. Format, version 1: ASCII, one JSON value a line, no spaces, newline
at the end. First `{"zenkei":"manifest","version":1}`, then rows sorted by the path's bytes:

    ["file","src/train.py",420,1234,"b3:..."]     mode (decimal; 420 = 0644, 493 = 0755), bytes
    ["link","latest","runs/3"]                    target as it stands in the link
    ["directory","empty"]                         only when nothing is in it

Paths and targets are bytes decoded as UTF-8 with surrogateescape and written with JSON's \\u
escapes, so any name travels and the same tree has the same digest under every locale and umask.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Final

from zenkei.data.digests import digest_of
from zenkei.model.data import Digest, Entry, EntryKind, Manifest, is_digest
from zenkei.model.errors import InvalidInput

HEADER: Final = b'{"zenkei":"manifest","version":1}\n'
FILE_MODE: Final = 0o644
PROGRAM_MODE: Final = 0o755
LINK_MODE: Final = 0o777
MAX_HOPS: Final = 40

_text = json.encoder.encode_basestring_ascii


def path_bytes(path: str) -> bytes:
    """A manifest's path or target as the kernel wants it."""
    return path.encode("utf-8", "surrogateescape")


def path_text(name: bytes) -> str:
    """The reverse of `path_bytes`."""
    return name.decode("utf-8", "surrogateescape")


def shown(path: str) -> str:
    """A path for messages: terminal escapes, newlines and broken bytes made visible."""
    return path if path.isprintable() else ascii(path)[1:-1]


def canonical(entries: Iterable[Entry]) -> bytes:
    """The bytes whose digest names the tree."""
    ordered = sorted(entries, key=lambda entry: path_bytes(entry.path))
    return HEADER + "".join(map(_line, ordered)).encode("ascii")


def parse(content: bytes) -> Manifest:
    """Raises InvalidInput unless `content` is what `canonical` writes for a tree that can exist."""
    if not content.startswith(HEADER):
        raise _refused("it does not begin with the header of version 1")
    try:
        rows = [json.loads(line) for line in content[len(HEADER) :].splitlines()]
    except (ValueError, RecursionError) as error:
        raise _refused("a line is not JSON") from error
    entries = tuple(_entry(row) for row in rows)
    _check_paths(entries)
    if canonical(entries) != content:
        raise _refused("it is not in canonical form")
    return Manifest(
        digest=digest_of(content),
        entries=entries,
        size_bytes=sum(entry.size_bytes for entry in entries),
    )


def is_manifest(content: bytes) -> bool:
    """Whether it claims to be one; enough of the beginning will do."""
    return content.startswith(HEADER)


def link_map(entries: Iterable[Entry]) -> dict[str, str]:
    """Links by path, for `leaves_tree`."""
    return {entry.path: entry.target for entry in entries if entry.kind is EntryKind.LINK}


def leaves_tree(path: str, links: Mapping[str, str]) -> bool:
    """Whether following the link at `path` would step out of the tree, even on the way.

    Follows other links of the tree as the kernel would: `..` after a link goes up from where the
    link points, which no comparison of texts sees. Cost: O(components · hops).
    """
    at: list[str] = path.split("/")[:-1]
    rest = links[path].split("/")[::-1]
    if links[path].startswith("/"):
        return True
    hops = 1
    while rest:
        part = rest.pop()
        if part in {"", "."}:
            continue
        if part == "..":
            if not at:
                return True
            at.pop()
            continue
        at.append(part)
        target = links.get("/".join(at))
        if target is None:
            continue
        hops += 1
        if hops > MAX_HOPS:
            return False  # the kernel gives up here too: nothing is reached
        if target.startswith("/"):
            return True
        at.pop()
        rest.extend(target.split("/")[::-1])
    return False


def _line(entry: Entry) -> str:
    path = _text(entry.path)
    if entry.kind is EntryKind.FILE:
        return f'["file",{path},{entry.mode},{entry.size_bytes},"{entry.digest}"]\n'
    if entry.kind is EntryKind.LINK:
        return f'["link",{path},{_text(entry.target)}]\n'
    return f'["directory",{path}]\n'


def _entry(row: object) -> Entry:
    match row:
        case ["file", str(path), int(mode), int(size), str(digest)]:
            if mode not in {FILE_MODE, PROGRAM_MODE} or size < 0 or not is_digest(digest):
                raise _refused(f"mode, size or digest of `{shown(path)}` cannot be")
            return Entry(
                path=path, kind=EntryKind.FILE, mode=mode, size_bytes=size, digest=Digest(digest)
            )
        case ["link", str(path), str(target)]:
            if not target or "\0" in target:
                raise _refused(f"the target of the link `{shown(path)}` cannot be")
            return Entry(path=path, kind=EntryKind.LINK, mode=LINK_MODE, target=target)
        case ["directory", str(path)]:
            return Entry(path=path, kind=EntryKind.DIRECTORY, mode=PROGRAM_MODE)
    raise _refused(f"a row is neither file nor link nor directory: {ascii(row)[:80]}")


def _check_paths(entries: tuple[Entry, ...]) -> None:
    """No path twice, none that escapes, none below a file or a link; sizes add up later."""
    paths: set[str] = set()
    for entry in entries:
        parts = entry.path.split("/")
        if "\0" in entry.path or any(part in {"", ".", ".."} for part in parts):
            raise _refused(f"the path `{shown(entry.path)}` is not one inside a tree")
        try:
            path_bytes(entry.path + entry.target)
        except UnicodeEncodeError:
            raise _refused(f"the path `{shown(entry.path)}` is not made of bytes") from None
        if entry.path in paths:
            raise _refused(f"the path `{shown(entry.path)}` appears twice")
        paths.add(entry.path)
    sound: set[str] = set()
    for path in paths:
        parent = path.rpartition("/")[0]
        while parent and parent not in sound:
            if parent in paths:
                raise _refused(f"`{shown(path)}` lies below `{shown(parent)}`, no directory")
            sound.add(parent)
            parent = parent.rpartition("/")[0]


def _refused(why: str) -> InvalidInput:
    return InvalidInput(
        "bad-manifest",
        f"this manifest is refused: {why}",
        hint="manifests are written by zenkei only; this one was altered or is of a newer version",
    )
