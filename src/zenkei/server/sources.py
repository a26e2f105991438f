"""Reads files that a job file names, and nothing outside the tree it stands in.

Called while a spec is parsed, in the daemon and by `run --check`. The reader and the person have
the same uid, so this is no barrier between people: it keeps job files honest (what they need
travels with them) and a typing error from reading `/dev/zero`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from zenkei.model.errors import InvalidInput

MOST_BYTES = 8 << 20


def source_folder(text: str) -> str:
    """The working tree of a submission: an absolute path to a directory. Raises InvalidInput."""
    if not os.path.isabs(text) or "\0" in text or not os.path.isdir(text):
        raise InvalidInput(
            "bad-source",
            f"the working tree {text[:200]!r} is not a directory of this machine",
            hint="run zenkei in an existing directory",
        )
    return os.path.realpath(text)


def reader(folder: str) -> Callable[[str], bytes]:
    """`read(path)` for `spec.parse`: content of a regular file below `folder`; raises OSError."""

    def read(path: str) -> bytes:
        root = os.path.realpath(folder)
        full = os.path.realpath(os.path.join(root, path))
        if os.path.commonpath([root, full]) != root:
            raise PermissionError(f"{path} is outside of the job file's directory")
        fd = os.open(full, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise OSError(f"{path} is not a regular file")
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise OSError(f"{path} is longer than {MOST_BYTES >> 20} MiB")
        return content

    return read
