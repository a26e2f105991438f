"""A version is what its directory was: in bytes, in a depot, and exported again."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.dataset_trees import Place, Tree, read_tree, table_of
from tests.effort import tries
from zenkei.data.versions import compare, container
from zenkei.data.versions.table import VersionTable
from zenkei.model.errors import InvalidInput

SLOW = settings(
    max_examples=tries(25),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=True,
)
FAST = settings(max_examples=tries(300), deadline=None, derandomize=True)
NAMES = st.binary(min_size=1, max_size=20).filter(
    lambda name: not set(name) & {0, ord("/")} and name not in {b".", b".."}
)
FEW_NAMES = st.sampled_from([b"a", b"b", b"a.txt", b"\xff", b"long-name-0001", b"long-name-0002"])
PATHS = st.lists(FEW_NAMES | NAMES, min_size=1, max_size=4).map(b"/".join)
CONTENTS = st.binary(max_size=50) | st.binary(max_size=30).map(lambda rest: b"#!" + rest)
LINKS = st.sampled_from([b"a", b"./b", b"nowhere/x", b"\xfe"]).map(lambda to: ("link", to))
TREES = st.dictionaries(PATHS, CONTENTS | st.none() | LINKS, max_size=12)


def can_exist(tree: Tree) -> bool:
    return not any(
        other.startswith(path + b"/") for path in tree for other in tree if other != path
    )


def shortened(content: Any) -> Any:
    """As much of it as a false digest holds, and its size."""
    if not isinstance(content, bytes):
        return content
    return b"%d" % len(content) + content[:32].ljust(32, b"x")


def same(a: VersionTable, b: VersionTable) -> bool:
    columns = ("parents", "name_starts", "kinds", "modes", "sizes", "digests", "pack_sizes")
    values = ("digest", "directories", "name_data", "targets", "packs", "origin")
    return (
        all(np.array_equal(getattr(a, name), getattr(b, name)) for name in columns)
        and all(getattr(a, name) == getattr(b, name) for name in values)
        and np.array_equal(a.pieces, b.pieces)
    )


@FAST
@given(TREES.filter(can_exist), st.booleans())
def test_a_version_is_read_as_it_was_written(tree: Tree, packed: bool):
    table = table_of(tree)
    assert same(container.read(container.write(table, packed=packed)), table)


@FAST
@given(TREES)
def test_a_version_of_paths_that_exclude_each_other_is_refused(tree: Tree):
    assume(not can_exist(tree))
    try:
        content = container.write(table_of(tree))
    except (KeyError, ValueError):
        return
    with pytest.raises(InvalidInput, match="refused"):
        container.read(content)


@FAST
@given(TREES.filter(can_exist), st.data())
def test_a_damaged_version_is_refused_wherever_it_is_damaged(tree: Tree, data: st.DataObject):
    content = bytearray(container.write(table_of(tree)))
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= 1 << data.draw(st.integers(0, 7))
    cut = content[: data.draw(st.sampled_from([at, len(content)]))]
    with pytest.raises(InvalidInput, match="refused"):
        container.read(bytes(cut))


@FAST
@given(TREES.filter(can_exist), TREES.filter(can_exist))
def test_what_two_versions_do_not_share_is_named_and_nothing_else(a: Tree, b: Tree):
    tables = (table_of(a), table_of(b))
    for table, tree in zip(tables, (a, b), strict=True):  # digests that depend on the content
        for row in range(len(table)):
            content = tree[table.path(row)]
            if isinstance(content, bytes):
                table.digests[row] = np.frombuffer(shortened(content)[-32:], np.uint8)
    found = compare.difference(*(container.sealed(table) for table in tables))
    assert {tables[1].path(int(row)) for row in found.added} == b.keys() - a.keys()
    assert {tables[0].path(int(row)) for row in found.removed} == a.keys() - b.keys()
    changed = {path for path in a.keys() & b.keys() if shortened(a[path]) != shortened(b[path])}
    assert {tables[1].path(int(row)) for row in found.changed_b} == changed


@SLOW
@given(TREES.filter(can_exist))
def test_what_is_committed_and_exported_is_what_was_there(tree: Tree):
    with tempfile.TemporaryDirectory() as folder:
        place = Place(folder=Path(folder))
        first = place.commit(tree)
        kept = read_tree(place.source)
        for item in first["left_out"]:
            del kept[item["path"].encode("utf-8", "surrogateescape")]
        out = place.export(first["digest"])
        assert read_tree(out) == kept
        again = place.commit(source=str(out), state=None)
        assert (again["digest"], again["stored_bytes"]) == (first["digest"], 0)
