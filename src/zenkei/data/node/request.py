"""A request to the node helper, looked at key by key; what is wrong is told with its value.

Called by `service` and `__main__`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zenkei.data.digests import to_raw
from zenkei.model.errors import InvalidInput


class Request:
    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def text(self, key: str, default: str | None = None) -> str:
        value = self._values.get(key)
        value = default if value is None else value
        if not isinstance(value, str) or (default is None and not value) or "\0" in value:
            raise _bad(key, value, "a text")
        return value

    def path(self, key: str) -> Path:
        path = Path(self.text(key))
        if not path.is_absolute() or ".." in path.parts:
            raise _bad(key, str(path), "an absolute path")
        return path

    def digest(self, key: str) -> str:
        text = self.text(key)
        to_raw(text)
        return text

    def count(self, key: str, default: int | None = None) -> int:
        value = self._values.get(key)
        value = default if value is None else value
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise _bad(key, value, "a number, 0 or larger")
        return value

    def flag(self, key: str) -> bool:
        value = self._values.get(key, False)
        if not isinstance(value, bool):
            raise _bad(key, value, "true or false")
        return value

    def part(self, key: str) -> Request | None:
        """The object at `key`, to be looked at in the same way; None if it is not there."""
        value = self._values.get(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise _bad(key, value, "an object")
        return Request(value)

    def shares(self, key: str) -> tuple[tuple[str, float], ...]:
        """Pairs of a name and a number."""
        value = self._values.get(key)
        pairs: list[Any] = value if isinstance(value, list) else [value]
        for pair in pairs:
            match pair:
                case [str(), int() | float()]:
                    continue
            raise _bad(key, value, "a list of names with numbers")
        return tuple((str(name), float(share)) for name, share in pairs)

    def choices(self, key: str, allowed: Sequence[str]) -> list[str]:
        """Some of `allowed`; all of them if the key is not there."""
        value = self._values.get(key)
        if value is None:
            return [str(each) for each in allowed]
        if not isinstance(value, list) or not all(each in allowed for each in value):
            raise _bad(key, value, f"a list of {', '.join(allowed)}")
        return value


def _bad(key: str, value: object, wanted: str) -> InvalidInput:
    return InvalidInput(
        "bad-request",
        f"`{key}` of the request is {str(value)[:80]!r}, not {wanted}",
        hint="see the docstring of zenkei.data.node.__main__ for the keys of each request",
    )
