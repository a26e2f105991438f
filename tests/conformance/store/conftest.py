"""One suite for all stores: `world` opens stores on one database, each as a controller."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from zenkei.store.memory import MemoryStore, Tables

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


KINDS = [pytest.param("memory")]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def world(kind: str) -> Iterator[World]:
    connects = {"memory": memory}
    world = World(kind, connects[kind]())
    yield world
    world.close()


@pytest.fixture
def store(world: World) -> Any:
    return world.open()
