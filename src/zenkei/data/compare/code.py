"""Two code trees: which files differ, and how, as a unified diff. Called by `__main__`.

Text files of moderate size are shown; of others it is said that they differ. Cost is bounded: the
alignment of lines is quadratic at worst, so files with many changed lines are only named.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from zenkei.data.compare.tally import shortened
from zenkei.model.data import Entry, EntryKind

MOST_FILE_BYTES = 1 << 20
MOST_PAIRS = 4_000_000
"""Lines of one side times lines of the other, after equal beginnings and ends are cut off."""
MOST_DIFF_CHARS = 1 << 20
CONTEXT = 3
NO_NEWLINE = "\n\\ No newline at end of file\n"
Read = Callable[[Entry], bytes]


@dataclass(frozen=True, kw_only=True, slots=True)
class FileChange:
    """change: added, removed, changed, mode, link. diff: empty if none can be shown: see why."""

    path: str
    change: str
    diff: str = ""
    why: str = ""


def compare_code(a: Iterable[Entry], b: Iterable[Entry], read: Read) -> tuple[FileChange, ...]:
    """By path. Diffs are left out once MOST_DIFF_CHARS have been written."""
    left, right = ({entry.path: entry for entry in side} for side in (a, b))
    found, room = [], MOST_DIFF_CHARS
    for path in sorted(left.keys() | right.keys()):
        x, y = left.get(path), right.get(path)
        if x == y:
            continue
        change = _change(path, x, y, read, show=room > 0)
        room -= len(change.diff)
        found.append(change)
    return tuple(found)


def _change(path: str, x: Entry | None, y: Entry | None, read: Read, *, show: bool) -> FileChange:
    word = "added" if x is None else "removed" if y is None else "changed"
    if x is not None and y is not None:
        if EntryKind.LINK in (x.kind, y.kind):
            why = f"{_target(x)} became {_target(y)}"
            return FileChange(path=path, change="link", why=why)
        if x.digest == y.digest:
            return FileChange(path=path, change="mode", why=f"{x.mode:04o} became {y.mode:04o}")
    before, after = (_lines(one, read) if show else None for one in (x, y))
    if before is None or after is None:
        why = "no text, or too large to show" if show else "the diff is long enough already"
        return FileChange(path=path, change=word, why=why)
    diff = unified(before, after, path, is_new=x is None, is_gone=y is None)
    if diff is None:
        return FileChange(path=path, change=word, why="too many lines differ to show them")
    return FileChange(path=path, change=word, diff=diff)


def unified(
    before: list[str], after: list[str], path: str, *, is_new: bool = False, is_gone: bool = False
) -> str | None:
    """As `diff -u`; None if that would take too long."""
    head = 0
    while head < min(len(before), len(after)) and before[head] == after[head]:
        head += 1
    tail = 0
    while tail < min(len(before), len(after)) - head and before[-1 - tail] == after[-1 - tail]:
        tail += 1
    if (len(before) - head - tail) * (len(after) - head - tail) > MOST_PAIRS:
        return None
    begin, cut = max(0, head - CONTEXT), max(0, tail - CONTEXT)
    x, y = before[begin : len(before) - cut], after[begin : len(after) - cut]
    name = shortened(path)
    old, new = ("/dev/null" if is_new else f"a/{name}"), ("/dev/null" if is_gone else f"b/{name}")
    out = [f"--- {old}\n", f"+++ {new}\n"]
    for group in difflib.SequenceMatcher(None, x, y, autojunk=False).get_grouped_opcodes(CONTEXT):
        out.append(_header(group, begin))
        for tag, i1, i2, j1, j2 in group:
            out += [" " + line for line in x[i1:i2]] if tag == "equal" else []
            out += ["-" + line for line in x[i1:i2]] if tag in ("replace", "delete") else []
            out += ["+" + line for line in y[j1:j2]] if tag in ("replace", "insert") else []
    return "".join(line if line.endswith("\n") else line + NO_NEWLINE for line in out)


def _header(group: list[tuple[str, int, int, int, int]], begin: int) -> str:
    first, last = group[0], group[-1]
    old, new = last[2] - first[1], last[4] - first[3]
    return f"@@ -{_span(begin + first[1], old)} +{_span(begin + first[3], new)} @@\n"


def _span(start: int, length: int) -> str:
    """As `diff` writes it: lines count from 1, an empty span names the line before it."""
    at = start + 1 if length else start
    return f"{at}" if length == 1 else f"{at},{length}"


def _lines(entry: Entry | None, read: Read) -> list[str] | None:
    if entry is None:
        return []
    if entry.kind is not EntryKind.FILE or entry.size_bytes > MOST_FILE_BYTES:
        return None
    data = read(entry)
    if b"\0" in data:
        return None
    *lines, rest = data.decode("utf-8", "backslashreplace").split("\n")
    return [line + "\n" for line in lines] + ([rest] if rest else [])


def _target(entry: Entry) -> str:
    return f"a link to {shortened(entry.target)}" if entry.kind is EntryKind.LINK else "a file"
