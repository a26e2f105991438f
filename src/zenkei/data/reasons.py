"""Errors about what lies in a person's directory; each names the path in a printable form."""

from __future__ import annotations

from zenkei.data.manifest import shown
from zenkei.model.errors import InvalidInput


def cannot_read(path: str, error: OSError) -> InvalidInput:
    return InvalidInput(
        "unreadable",
        f"`{shown(path)}` cannot be read: {error.strerror}",
        hint="change its permissions, or leave it out in .zenkeiignore",
        details={"path": shown(path)},
    )


def not_a_file(path: str, why: str) -> InvalidInput:
    return InvalidInput(
        "unreadable",
        f"`{shown(path)}` is {why}",
        hint="keep only files and directories there",
        details={"path": shown(path)},
    )


def keeps_changing(path: str) -> InvalidInput:
    return InvalidInput(
        "file-changes",
        f"`{shown(path)}` changes while it is read (3 tries)",
        hint="stop what writes it, or leave it out in .zenkeiignore",
        details={"path": shown(path)},
    )


def too_deep(path: str, limit: int) -> InvalidInput:
    return InvalidInput(
        "too-deep",
        f"`{shown(path[:200])}…` lies more than {limit} directories deep",
        hint="leave it out in .zenkeiignore, or write less deeply nested directories",
        details={"limit": limit},
    )


def links_leave(links: list[tuple[str, str]]) -> InvalidInput:
    """links: path and target of each that leaves."""
    path, target = links[0]
    more = f", and {len(links) - 1} more" if len(links) > 1 else ""
    return InvalidInput(
        "link-leaves-tree",
        f"the link `{shown(path)}` points out of the tree (to `{shown(target)}`){more}",
        hint="what it points to would be missing where the job runs: leave the link out in "
        ".zenkeiignore, copy the files into the tree, or make its target relative and inside",
        details={"links": [{"path": shown(p), "target": shown(t)} for p, t in links[:20]]},
    )


def not_a_directory(path: str) -> InvalidInput:
    return InvalidInput(
        "not-a-directory",
        f"`{shown(path)}` is not a directory",
        hint="name an existing directory (not a link to one)",
        details={"path": shown(path)},
    )


def disappeared(path: str) -> InvalidInput:
    return InvalidInput(
        "file-vanished",
        f"`{shown(path)}` vanished while the tree was read",
        hint="stop what removes it and try again, or leave it out in .zenkeiignore",
        details={"path": shown(path)},
    )
