"""Manifests: a format that stays, and hostile ones refused."""

from __future__ import annotations

import json

import pytest

from zenkei.data.manifest import HEADER, canonical, leaves_tree, parse, path_text
from zenkei.model.data import Digest, Entry, EntryKind
from zenkei.model.errors import InvalidInput

CONTENT = Digest("b3:" + "0f" * 32)


def file(path: str, size: int = 1, mode: int = 0o644) -> Entry:
    return Entry(path=path, kind=EntryKind.FILE, mode=mode, size_bytes=size, digest=CONTENT)


GOLDEN = (
    b'{"zenkei":"manifest","version":1}\n'
    b'["file","B.txt",420,3,"' + CONTENT.encode() + b'"]\n'
    b'["file","a b",420,1,"' + CONTENT.encode() + b'"]\n'
    b'["directory","a/empty"]\n'
    b'["file","a/run.sh",493,10,"' + CONTENT.encode() + b'"]\n'
    b'["link","latest","a/run.sh"]\n'
    b'["file","line\\nbreak",420,1,"' + CONTENT.encode() + b'"]\n'
    b'["file","\\u8a08\\u7b97.py",420,1,"' + CONTENT.encode() + b'"]\n'
    b'["file","\\udcff",420,1,"' + CONTENT.encode() + b'"]\n'
)
ENTRIES = (
    file("B.txt", 3),
    file("a b"),
    Entry(path="a/empty", kind=EntryKind.DIRECTORY, mode=0o755),
    file("a/run.sh", 10, 0o755),
    Entry(path="latest", kind=EntryKind.LINK, mode=0o777, target="a/run.sh"),
    file("line\nbreak"),
    file("計算.py"),
    file(path_text(b"\xff")),
)


def test_the_format_does_not_change():
    assert canonical(reversed(ENTRIES)) == GOLDEN
    manifest = parse(GOLDEN)
    assert manifest.entries == ENTRIES
    assert manifest.size_bytes == 17
    # stored trees of released versions are found by this digest: a change needs a new version
    assert manifest.digest == (
        "b3:8162d018dc27b3518d5f3cfa70f936b77fffbc5c4aaa732441868a148c7495d8"
    )


def rows(*values: object) -> bytes:
    lines = [json.dumps(value, separators=(",", ":")) + "\n" for value in values]
    return HEADER + "".join(lines).encode()


def a_file(path: str, mode: int = 420, size: object = 1, digest: str = CONTENT) -> list[object]:
    return ["file", path, mode, size, digest]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b'{"zenkei":"manifest","version":2}\n',
        HEADER[:-1],
        rows(a_file("a"))[:-1],
        rows(a_file("a")) + b"\n",
        rows(a_file("a")).replace(b",", b", "),
        rows(a_file("../a")),
        rows(a_file("a/../../b")),
        rows(a_file("/a")),
        rows(a_file("a//b")),
        rows(a_file("a/")),
        rows(a_file("./a")),
        rows(a_file("")),
        rows(a_file("..")),
        rows(a_file("a\0b")),
        rows(a_file("\ud800")),
        rows(a_file("a"), a_file("a")),
        rows(a_file("b"), a_file("a")),
        rows(a_file("a"), a_file("a/b")),
        rows(a_file("a"), a_file("a-b"), a_file("a/b")),
        rows(["link", "a", "/etc"], a_file("a/b")),
        rows(["directory", "a"], a_file("a/b")),
        rows(a_file("a", mode=0o4755)),
        rows(a_file("a", size=-1)),
        rows(a_file("a", size=1.5)),
        rows(a_file("a", digest="b3:../../x")),
        rows(["link", "a", ""]),
        rows(["link", "a", "b\0c"]),
        rows(["device", "a"]),
        rows({"path": "a"}),
        rows([["file"]]),
        HEADER + b"[" * 100_000 + b"\n",
        HEADER + b'["file","a",420,' + b"9" * 5000 + b',"x"]\n',
    ],
)
def test_a_manifest_that_no_tree_has_is_refused(content: bytes):
    with pytest.raises(InvalidInput) as caught:
        parse(content)
    assert caught.value.code == "bad-manifest"


@pytest.mark.parametrize(
    ("links", "leaves"),
    [
        ({"a": "b"}, False),
        ({"a": "missing/deep"}, False),
        ({"d/a": "../b"}, False),
        ({"a": "."}, False),
        ({"a": "a"}, False),
        ({"a": "b", "b": "a"}, False),
        ({"a": "./x/../y"}, False),
        ({"a": ".."}, True),
        ({"a": "../work/b"}, True),
        ({"d/a": "../../b"}, True),
        ({"a": "/etc/passwd"}, True),
        ({"a": "b", "b": "/etc"}, True),
        ({"a": "d/e/l/../x", "d/e/l": "../.."}, True),
        ({"a": "l/..", "l": "d/e"}, False),
        ({"a": "x/../../y"}, True),
    ],
)
def test_a_link_leaves_if_following_it_would(links: dict[str, str], leaves: bool):
    assert leaves_tree("a" if "a" in links else "d/a", links) is leaves
