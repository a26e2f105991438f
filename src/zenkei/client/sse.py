"""Server-sent events out of a body that comes in pieces. Called by `Client.stream`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Message(NamedTuple):
    """One event. id: where to resume after it (empty: as before). data: undecoded JSON."""

    event: str
    data: str
    id: str = ""


def messages(pieces: Iterable[bytes]) -> Iterator[Message]:
    """Comments (keep-alive) are skipped; an event that was cut off is not delivered."""
    rest = b""
    for piece in pieces:
        rest += piece
        if b"\n\n" not in piece and b"\n\n" not in rest[-len(piece) - 2 :]:
            continue
        *whole, rest = rest.split(b"\n\n")
        for block in whole:
            message = _message(block.decode("utf-8", "replace"))
            if message is not None:
                yield message


def _message(block: str) -> Message | None:
    event, id_, data = "message", "", []
    for line in block.split("\n"):
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            data.append(value)
        elif name == "event":
            event = value
        elif name == "id":
            id_ = value
    return Message(event, "\n".join(data), id_) if data else None
