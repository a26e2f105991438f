"""The lock document: what was resolved, for which Python and platform, as deterministic text.

Called by `locking` (makes and stores it) and `realising` (reads it back). Pure. The document is
also a requirements file that pip understands: one comment line with a JSON header, then pinned
requirements with hashes, sorted. The same content has the same text and digest everywhere: neither
the request nor an index of the person's own settings is in it. Indexes that the job's own
requirements file names are, because without them the lock could not be realised.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from zenkei.model.errors import InvalidInput

FORMAT: Final = 1
_MARK: Final = "# zenkei-lock "
_PINNED: Final = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?\s*(?:===?\s*[^\s;,]+|@\s*https?://\S+)"
    r"(?P<marker>\s*;.*)?"
)
_HASH: Final = re.compile(r"\s--hash[= ](sha(?:256|384|512):[0-9a-f]{64,128})(?=\s|$)")
_COMMENT: Final = re.compile(r"(^|\s+)#.*$")


@dataclass(frozen=True, kw_only=True, slots=True)
class Lock:
    """python: full version it was resolved with; exact: whether the job asked for that very patch.

    options: `--index-url ...` lines of the job's own. requirements: one pinned package each, with
    its hashes, sorted by name.
    """

    python: str
    exact: bool
    platform: str
    build: bool
    options: tuple[str, ...] = ()
    requirements: tuple[str, ...] = ()

    def encode(self) -> bytes:
        header = {
            "build": self.build,
            "format": FORMAT,
            "options": list(self.options),
            "platform": self.platform,
            "python": self.python,
            "python_exact": self.exact,
        }
        text = json.dumps(header, sort_keys=True, separators=(",", ":"))
        return f"{_MARK}{text}\n{self.body()}".encode()

    def body(self) -> str:
        """The requirement lines alone, as uv and pip read them."""
        return "".join(f"{line}\n" for line in self.requirements)


def decode(content: bytes) -> Lock:
    """Raises InvalidInput if it is not a lock of this or an earlier format."""
    try:
        head, _, body = content.decode().partition("\n")
        if not head.startswith(_MARK):
            raise ValueError("it has no header")
        header: dict[str, Any] = json.loads(head.removeprefix(_MARK))
        if header["format"] != FORMAT:
            raise ValueError(f"its format is {header['format']}, known is {FORMAT}")
        return Lock(
            python=str(header["python"]),
            exact=bool(header["python_exact"]),
            platform=str(header["platform"]),
            build=bool(header["build"]),
            options=tuple(str(option) for option in header["options"]),
            requirements=tuple(body.splitlines()),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInput(
            "bad-lock",
            f"the environment's lock cannot be read: {error}",
            hint="run the job with the version of zenkei that made the lock, or lock it again",
        ) from error


def logical_lines(text: str) -> list[tuple[int, str]]:
    """Lines with the number of their first physical line: continuations joined, comments gone."""
    found: list[tuple[int, str]] = []
    waiting, first = "", 0
    for number, raw in enumerate([*text.splitlines(), ""], 1):
        first = first if waiting else number
        if raw.endswith("\\") and not raw.lstrip().startswith("#"):
            waiting += raw[:-1].strip() + " "
            continue
        line = _COMMENT.sub("", waiting + raw.strip()).strip()
        waiting = ""
        if line:
            found.append((first, line))
    return found


def pinned(lines: Iterable[tuple[int, str]]) -> tuple[str, ...]:
    """Requirement lines of a lock in one form: `name==1.0 ; marker --hash=a --hash=b`, sorted.

    Raises InvalidInput that names each line without an exact version or without a hash.
    """
    found, wrong = [], []
    for number, line in lines:
        hashes = sorted(set(_HASH.findall(line)))
        wish = " ".join(_HASH.sub("", line).split())
        match = _PINNED.fullmatch(wish)
        if match is None:
            wrong.append(f"line {number}: no exact version: {wish[:120]}")
        elif not hashes:
            wrong.append(f"line {number}: no hash: {wish[:120]}")
        else:
            key = re.sub(r"[-_.]+", "-", match["name"]).lower()
            found.append((key, " ".join([wish, *(f"--hash={value}" for value in hashes)])))
    if wrong:
        raise InvalidInput(
            "bad-lock",
            "the lock does not pin every package by hash:\n" + "\n".join(wrong[:20]),
            hint="make it with `uv pip compile --generate-hashes` or `uv export`",
        )
    return tuple(line for _, line in sorted(set(found)))
