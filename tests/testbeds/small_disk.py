"""A small file system in memory, to be filled by tests. Only root may mount one.

ZENKEI_TEST_DISK: one that root has mounted for a user's tests, which share it one after another.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

GIVEN = "ZENKEI_TEST_DISK"


@contextmanager
def small_disk(where: Path, size_bytes: int) -> Iterator[Path]:
    """An empty one at `where`; skips the test where none may be mounted."""
    where.mkdir(mode=0o700, exist_ok=True)
    options = f"size={size_bytes},mode=700"
    mount = ["mount", "-t", "tmpfs", "-o", options, "zenkei-test", str(where)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount")
    try:
        yield where
    finally:
        subprocess.run(["umount", "--lazy", str(where)], check=True)


@contextmanager
def given_or_small_disk(where: Path, size_bytes: int) -> Iterator[Path]:
    """At `where`, or at the place that was handed over, of which `size_bytes` are left free."""
    given = os.environ.get(GIVEN)
    if not given:
        with small_disk(where, size_bytes) as made:
            yield made
        return
    found = Path(given)
    (found / "rest").touch()
    with (found / "rest").open("r+b") as rest:
        disk = os.statvfs(found)
        more = disk.f_bavail * disk.f_frsize - size_bytes
        if more > 0:
            os.posix_fallocate(rest.fileno(), 0, more)
    try:
        yield found
    finally:
        for path in found.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
