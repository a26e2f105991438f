"""Without uv the daemon serves everything that needs no environment."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from zenkei.envs.builder import UvBuilder
from zenkei.model.errors import Unavailable
from zenkei.model.job import EnvRequest
from zenkei.sim.doubles import BlobsDouble


def test_a_builder_without_uv_is_made_and_says_so_when_it_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(shutil, "which", lambda name, path=None: None)
    builder = UvBuilder(root=tmp_path / "envs", blobs=BlobsDouble(), environ={})
    assert builder.lock(EnvRequest(), print) == ""
    with pytest.raises(Unavailable, match="uv is not installed"):
        builder.lock(EnvRequest(packages=("six",)), print)
    builder.close()
