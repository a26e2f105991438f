"""Secrets of a project, kept outside the database; implemented by `auth.secrets`."""

from __future__ import annotations

from typing import Protocol


class Secrets(Protocol):
    """Values never travel in argv, specs, events, spools, logs or errors."""

    def set(self, project: str, name: str, value: bytes) -> None: ...

    def get(self, project: str, name: str) -> bytes:
        """Raises NotFound with a hint how to set it."""

    def names(self, project: str) -> tuple[str, ...]: ...

    def remove(self, project: str, name: str) -> None: ...
