"""Code trees as unified diffs."""

import random
import subprocess

import pytest

from tests.unit.data.compare.test_kinds import Store
from zenkei.data.compare.code import compare_code, unified
from zenkei.model.data import Entry, EntryKind


def changes(store: Store, a: list[Entry], b: list[Entry]):
    return {c.path: c for c in compare_code(a, b, lambda e: store.contents[e.digest])}


def test_a_changed_line_is_shown_with_its_place():
    store = Store()
    a, b = store.entry("t.py", b"a\nb\nc\n"), store.entry("t.py", b"a\nB\nc\n")
    diff = changes(store, [a], [b])["t.py"].diff
    assert diff == "--- a/t.py\n+++ b/t.py\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n"


@pytest.mark.parametrize("seed", range(20))
def test_patch_makes_the_second_file_of_the_first(seed, tmp_path):
    dice = random.Random(seed)
    before = [dice.choice("abc") + "\n" for _ in range(dice.randrange(40))]
    after = [line for line in before if dice.random() > 0.2]
    for _ in range(dice.randrange(5)):
        after.insert(dice.randrange(len(after) + 1), "new\n")
    if after and dice.random() < 0.3:
        after[-1] = after[-1].rstrip("\n")
    if before == after or not before:
        return
    diff = unified(before, after, "f")
    assert diff is not None
    (tmp_path / "f").write_text("".join(before))
    done = subprocess.run(
        ["git", "apply", "-p1", "--unidiff-zero"],
        cwd=tmp_path, input=diff.encode(), capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "f").read_text() == "".join(after)


def test_files_that_come_go_or_only_change_their_mode():
    store = Store()
    a = [store.entry("gone", b"x\n"), store.entry("run", b"#!"), store.entry("same", b"")]
    b = [store.entry("new", b"y\n"), store.entry("run", b"#!", 0o755), store.entry("same", b"")]
    found = changes(store, a, b)
    assert {path: one.change for path, one in found.items()} == {
        "gone": "removed",
        "new": "added",
        "run": "mode",
    }
    assert found["new"].diff.startswith("--- /dev/null\n+++ b/new\n@@ -0,0 +1 @@\n+y\n")


def test_what_is_no_text_or_takes_too_long_is_only_named():
    store = Store()
    binary = changes(store, [store.entry("b", b"\0")], [store.entry("b", b"\1\0")])["b"]
    assert (binary.diff, binary.why) == ("", "no text, or too large to show")
    assert unified([f"{i}\n" for i in range(3000)], [f"-{i}\n" for i in range(3000)], "f") is None


def test_a_link_that_becomes_a_file_is_told_as_such():
    store = Store()
    link = Entry(path="x", kind=EntryKind.LINK, target="y")
    assert changes(store, [link], [store.entry("x", b"1")])["x"].why == (
        "a link to y became a file"
    )
