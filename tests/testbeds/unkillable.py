"""Processes that do not die when they are killed, as in a driver that hangs: a frozen group.

Needs a freezer of version 1 that this user may write; elsewhere the tests that use it are skipped.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.testbeds.local_place import until

FREEZER = Path("/sys/fs/cgroup/freezer")


class Freezer:
    """What is put in (`tasks`: a file for pids) does not die between `freeze` and `thaw`."""

    def __init__(self, group: Path) -> None:
        self.group = group
        self.tasks = group / "cgroup.procs"

    def freeze(self) -> None:
        (self.group / "freezer.state").write_text("FROZEN")

    def thaw(self) -> None:
        (self.group / "freezer.state").write_text("THAWED")


@contextmanager
def a_freezer() -> Iterator[Freezer]:
    group = FREEZER / f"zkt-{os.getpid()}"
    try:
        group.mkdir()
    except OSError:
        pytest.skip("no freezer (v1) that this user may write: a process cannot be made unkillable")
    found = Freezer(group)
    try:
        yield found
    finally:
        found.thaw()
        until(lambda: not found.tasks.read_text(), "the end of what was frozen")
        group.rmdir()
