"""One suite for all depots: `depot` is an empty one in a directory or behind an S3 server."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.process_guard import RUN_DIR
from tests.testbeds.buckets import CREDENTIALS, KINDS, Bucket, bucket
from zenkei.data.depots.depot import Depot
from zenkei.data.depots.opening import open_depot

AWS = ("AWS_SESSION_TOKEN", "AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_REGION")


@pytest.fixture(scope="session")
def servers() -> Iterator[Callable[[str], Bucket]]:
    """Started when first asked for; one of a kind for all tests."""
    running: dict[str, Bucket] = {}
    with ExitStack() as stack:

        def start(kind: str) -> Bucket:
            if kind not in running:
                folder = Path(tempfile.mkdtemp(prefix=f"{kind}-", dir=os.environ[RUN_DIR]))
                running[kind] = stack.enter_context(bucket(kind, folder))
            return running[kind]

        yield start


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in AWS:
        monkeypatch.delenv(name, raising=False)
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(params=["directory", *KINDS])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def location(kind: str, servers: Callable[[str], Bucket], credentials: None, tmp_path: Path) -> str:
    if kind == "directory":
        return f"file:{tmp_path / 'depot'}"
    return servers(kind).new_location()


@pytest.fixture
def depot(location: str) -> Depot:
    return open_depot(location)
