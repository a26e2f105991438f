"""Any tree comes back as it was; link checks agree with the kernel; ignore rules agree with git."""

from __future__ import annotations

import errno
import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.effort import tries
from zenkei.data.blobs_dir import DirectoryBlobs
from zenkei.data.checkout import differences
from zenkei.data.manifest import canonical, leaves_tree, parse, path_text
from zenkei.data.tree import DirectoryTrees
from zenkei.model.data import Digest, Entry, EntryKind
from zenkei.model.errors import InvalidInput
from zenkei.model.job import CodeRequest

SLOW = settings(
    max_examples=tries(60),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=True,
)
NAMES = st.binary(min_size=1, max_size=12).filter(
    lambda name: not set(name) & {0, ord("/")} and name not in {b".", b".."}
)
PATHS = st.lists(NAMES, min_size=1, max_size=4).map(b"/".join)
TREES = st.dictionaries(PATHS, st.binary(max_size=50) | st.none(), max_size=12)


def write(root: bytes, tree: dict[bytes, bytes | None]) -> bool:
    """None is an empty directory. False if two paths exclude each other."""
    os.makedirs(root)
    for name, content in tree.items():
        path = root + b"/" + name
        try:
            if content is None:
                os.makedirs(path)
                continue
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "xb") as file:
                file.write(content)
            os.chmod(path, 0o755 if len(content) % 2 else 0o644)
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            return False
    return True


@SLOW
@given(TREES)
def test_what_is_sealed_and_checked_out_is_what_was_there(tree: dict[bytes, bytes | None]):
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        assume(write(os.fsencode(home / "in"), tree))
        blobs = DirectoryBlobs(home / "blobs")
        trees = DirectoryTrees(blobs, state=home)
        digest, files, size = trees.seal((home / "in",))
        trees.checkout(digest, home / "out")
        assert differences(trees.manifest(digest), home / "out") == []
        assert trees.seal((home / "out",)) == (digest, files, size)
        ran = subprocess.run(["diff", "-r", home / "in", home / "out"], check=False)
        assert ran.returncode == 0


@given(st.dictionaries(PATHS.map(path_text), st.integers(0, 2), max_size=12))
def test_a_manifest_is_read_as_it_was_written_or_refused(kinds: dict[str, int]):
    makers: tuple[Callable[[str], Entry], ...] = (
        lambda path: Entry(path=path, kind=EntryKind.LINK, mode=0o777, target="x"),
        lambda path: Entry(path=path, kind=EntryKind.DIRECTORY, mode=0o755),
        lambda path: Entry(path=path, kind=EntryKind.FILE, digest=Digest("b3:" + "0" * 64)),
    )
    entries = [makers[kind](path) for path, kind in kinds.items()]
    content = canonical(entries)
    nested = any(a != b and b.startswith(a + "/") for a in kinds for b in kinds)
    try:
        manifest = parse(content)
    except InvalidInput:
        assert nested
        return
    assert not nested
    assert sorted(manifest.entries, key=repr) == sorted(entries, key=repr)
    assert canonical(manifest.entries) == content


@given(st.binary(max_size=200))
def test_any_bytes_are_a_manifest_or_refused(content: bytes):
    for text in (content, canonical([]) + content):
        try:
            assert canonical(parse(text).entries) == text
        except InvalidInput as error:
            assert error.code == "bad-manifest"  # noqa: PT017 - either is right


PARTS = st.sampled_from(["..", ".", "a", "b", "c"])
TARGETS = st.lists(PARTS, min_size=1, max_size=6).map("/".join)
LINKS = st.dictionaries(
    st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map("/".join), TARGETS, max_size=5
)


def is_loop(path: Path) -> bool:
    try:
        path.stat()
    except OSError as error:
        return error.errno == errno.ELOOP
    return False


@SLOW
@given(LINKS)
def test_a_link_that_leads_the_kernel_out_of_the_tree_is_seen(links: dict[str, str]):
    assume(not any(a != b and b.startswith(a + "/") for a in links for b in links))
    with tempfile.TemporaryDirectory() as folder:
        # enough directories above that `..` never reaches the real root
        root = Path(folder) / "1/2/3/4/5/6/7/8" / "tree"
        root.mkdir(parents=True)
        for path, target in links.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).symlink_to(target)
        for path in links:
            reached = os.path.realpath(root / path)
            inside = reached == str(root) or reached.startswith(f"{root}/")
            assert inside or leaves_tree(path, links) or is_loop(root / path)


IGNORE_PARTS = st.sampled_from(["a", "b", "a*", "*", "?", "[ab]", "**", "c.x", "*.x", "a b"])
PATTERNS = st.tuples(
    st.sampled_from(["", "!", "/", "!/", "#", "\\"]),
    st.lists(IGNORE_PARTS, min_size=1, max_size=3).map("/".join),
    st.sampled_from(["", "/", " ", "/**", "/*"]),
).map("".join)
IGNORES = st.lists(PATTERNS, max_size=5).map("\n".join)
FOLDERS = st.sampled_from(["", "a/", "b/", "a/b/", "a/a/", "b/a/b/"])
FILES = st.tuples(FOLDERS, st.sampled_from(["a", "b", "c.x", "a b", "ab", "#a", "d"])).map("".join)


@SLOW
@given(st.sets(FILES, min_size=1, max_size=12), st.dictionaries(FOLDERS, IGNORES, max_size=3))
def test_the_same_files_travel_that_git_would_add(files: set[str], ignores: dict[str, str]):
    everything = files | {f"{place}.gitignore" for place in ignores}
    assume(not any(b.startswith(a + "/") for a in files for b in everything))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "work"
        for name in everything:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).touch()
        for place, text in ignores.items():
            (root / f"{place}.gitignore").write_text(text + "\n")
        environment = {"PATH": os.environ["PATH"], "HOME": folder, "GIT_CONFIG_NOSYSTEM": "1"}

        def git(*arguments: str) -> bytes:
            return subprocess.run(
                ["git", *arguments], cwd=root, env=environment, check=True, capture_output=True
            ).stdout

        git("init", "-q")
        listed = git("ls-files", "-z", "--others", "--exclude-standard")
        wanted = {name.decode() for name in listed.split(b"\0") if name}
        trees = DirectoryTrees(DirectoryBlobs(Path(folder) / "blobs"), state=Path(folder))
        snapshot = trees.snapshot(root, CodeRequest())
        assert {entry.path for entry in trees.manifest(snapshot.tree).entries} == wanted
