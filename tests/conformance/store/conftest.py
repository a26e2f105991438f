"""One suite for all stores: `world` opens stores on one database, each as a controller."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.process_guard import RUN_DIR
from tests.testbeds.postgres import Postgres, postgres
from zenkei.store.memory import MemoryStore, Tables
from zenkei.store.sql import SqlStore

START_US = 1_700_000_000_000_000


class Clock:
    """Time as the database tells it; a test moves it."""

    def __init__(self) -> None:
        self.us = START_US

    def __call__(self) -> int:
        return self.us

    def forward(self, seconds: float) -> None:
        self.us += int(seconds * 1e6)


class World:
    """A database. `open` connects one more controller; everything is closed at the end."""

    def __init__(self, kind: str, connect: Callable[..., Any]) -> None:
        self.kind = kind
        self.clock = Clock()
        self._connect = connect
        self._open: list[Any] = []

    def open(self, owner: str = "a", lease_s: float = 30.0, **options: Any) -> Any:
        options.setdefault("clock", self.clock)
        store = self._connect(owner=owner, lease_s=lease_s, **options)
        self._open.append(store)
        return store

    def close(self) -> None:
        for store in self._open:
            store.close()


def memory() -> Callable[..., Any]:
    tables = Tables()

    def connect(*, clock: Any, **options: Any) -> MemoryStore:
        return MemoryStore(clock, tables=tables, **options)

    return connect


def sql(url: str) -> Callable[..., Any]:
    def connect(**options: Any) -> SqlStore:
        return SqlStore(url, **options)

    return connect


KINDS = ["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def server() -> Iterator[Postgres]:
    with postgres(Path(os.environ[RUN_DIR])) as server:
        yield server


@pytest.fixture
def url(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """Of an empty database of this kind."""
    if kind == "postgres":
        server: Postgres = request.getfixturevalue("server")
        return server.url(server.new_schema())
    return f"sqlite:///{tmp_path}/db.sqlite3"


@pytest.fixture
def world(kind: str, url: str) -> Iterator[World]:
    world = World(kind, memory() if kind == "memory" else sql(url))
    yield world
    world.close()


@pytest.fixture
def store(world: World) -> Any:
    return world.open()
