"""What is committed is what a node shows: any tree, mounted over its packs and copied from them."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.effort import tries
from tests.unit.data.dataset_maker import Link, Program, Tree, version
from tests.unit.data.folder_depot import FolderDepot
from tests.unit.data.test_node_image import tree_at
from zenkei.data.node import mounting
from zenkei.data.node.cache import Cache
from zenkei.data.node.ladder import Means, show
from zenkei.data.node.layout import Layout
from zenkei.data.versions import commit

NAMES = st.binary(min_size=1, max_size=12).filter(
    lambda name: not set(name) & {0, ord("/")} and name not in {b".", b".."}
)
CONTENTS = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([b"x" * size for size in (511, 512, 513, 4096, 70_000, 5 << 18)]),
    st.binary(max_size=9).map(Program),
    st.none(),
)


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    """Links lead to names beside them, which may not be there."""
    folders = [b"", *draw(st.lists(NAMES, max_size=4))]
    folders += [f"{a}".encode() + b"/" + b for a, b in [("d", name) for name in folders[1:]]]
    tree: Tree = {}
    for _ in range(draw(st.integers(0, 25))):
        folder, name = draw(st.sampled_from(folders)), draw(NAMES)
        path = folder + b"/" + name if folder else name
        content = Link(name[::-1]) if draw(st.integers(0, 9)) == 0 else draw(CONTENTS)
        above = {path.rsplit(b"/", depth)[0] for depth in range(1, path.count(b"/") + 1)}
        is_above = any(other.startswith(path + b"/") for other in tree)
        if path not in tree and not above & set(tree) and not is_above:
            tree[path] = content
    return tree


@contextlib.contextmanager
def shown(depot: FolderDepot, digest: str, folder: Path, *means: Means):
    layout = Layout(folder / "cache")
    layout.make()
    found = show(Cache(layout, depot), digest, folder / "copy", allowed=frozenset(means))
    try:
        yield found.path
    finally:
        if found.means is not Means.COPY:
            mounting.unmount(found.path)


@settings(max_examples=tries(40), deadline=None, suppress_health_check=list(HealthCheck))
@given(trees())
def test_any_tree_is_shown_as_it_is(tree: Tree):
    table, packs = version(tree, piece_bytes=1 << 18)
    with tempfile.TemporaryDirectory() as name:
        depot = FolderDepot(Path(name) / "depot")
        depot.keep(table, packs)
        for means in ((Means.EROFS,), ()):
            with shown(depot, table.digest, Path(name), *means) as at:
                assert tree_at(at) == tree


@settings(max_examples=tries(15), deadline=None, suppress_health_check=list(HealthCheck))
@given(trees())
def test_a_committed_directory_is_shown_as_it_was(tree: Tree):
    with tempfile.TemporaryDirectory() as name:
        top = os.fsencode(name) + b"/source"
        os.mkdir(top)
        for path, content in tree.items():
            write(top + b"/" + path, content)
        depot = FolderDepot(Path(name) / "depot")
        request = commit.Request(depot=depot.location, source=Path(name) / "source", jobs=1)
        digest = commit.commit(request, lambda *_: None).digest
        before = tree_at(Path(name) / "source")
        with shown(depot, digest, Path(name), Means.EROFS) as at:
            assert tree_at(at) == before


def write(path: bytes, content: object) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if content is None:
        os.mkdir(path)
    elif isinstance(content, Link):
        os.symlink(content.target, path)
    else:
        data = content.content if isinstance(content, Program) else content
        assert isinstance(data, bytes)
        Path(os.fsdecode(path)).write_bytes(data)
        os.chmod(path, 0o755 if isinstance(content, Program) else 0o644)
