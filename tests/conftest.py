"""What every test gets: marks by folder, short private folders, and no process left behind.

Fixtures: `short_tmp` (a private folder with a path short enough for sockets), `zenkei_home` (the
same, set as ZENKEI_HOME with an empty HOME and XDG folders beside it), `repo` (the repository).
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import effort
from tests.process_guard import (
    RUN_DIR,
    pytest_configure,
    pytest_sessionfinish,
    pytest_terminal_summary,
    pytest_unconfigure,
)

__all__ = [
    "pytest_configure",
    "pytest_sessionfinish",
    "pytest_terminal_summary",
    "pytest_unconfigure",
]

effort.use()
REPO = Path(__file__).resolve().parent.parent
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # so a shell without job control starts what is in its background; tests interrupt programs
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        folders = item.path.parts
        for mark in ("system", "simulation"):
            if mark in folders:
                item.add_marker(mark)
        if item.get_closest_marker("root") and os.geteuid() != 0:
            item.add_marker(pytest.mark.skip(reason="needs uid 0"))


@pytest.fixture(scope="session")
def repo() -> Path:
    """The repository's root."""
    return REPO


@pytest.fixture
def short_tmp() -> Iterator[Path]:
    """A private folder whose path leaves room for a socket's name (107 bytes in all)."""
    folder = Path(tempfile.mkdtemp(prefix="", dir=os.environ[RUN_DIR]))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def zenkei_home(short_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty ZENKEI_HOME; HOME and the XDG folders are empty and private too."""
    places = {
        "HOME": "user",
        "XDG_CACHE_HOME": "user/.cache",
        "XDG_CONFIG_HOME": "user/.config",
        "XDG_DATA_HOME": "user/.local/share",
        "XDG_RUNTIME_DIR": "run",
        "XDG_STATE_HOME": "user/.local/state",
        "ZENKEI_HOME": "home",
    }
    for variable, place in places.items():
        (short_tmp / place).mkdir(parents=True, exist_ok=True, mode=0o700)
        monkeypatch.setenv(variable, str(short_tmp / place))
    return short_tmp / "home"
