"""What a person is told when the daemon cannot be started."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from zenkei.cli.starting import start
from zenkei.client.failure import Failure


def test_a_machine_without_free_processes_is_no_defect_of_zenkei(
    short_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused() -> int:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", refused)
    with pytest.raises(Failure, match="cannot be started: Resource temporarily") as failure:
        start(str(short_tmp / "home"))
    assert failure.value.exit_code == 75
    assert "processes" in failure.value.hint
