"""Server-sent events: the form of a message, and an answer made of them."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

from starlette.responses import StreamingResponse

from zenkei.api.errors import body_of
from zenkei.api.wire import dumps
from zenkei.server.errors import shown

log = logging.getLogger(__name__)


class Sse(NamedTuple):
    """One event. id: where to resume after it; empty: nowhere new."""

    event: str
    data: Any
    id: str = ""

    def encode(self) -> bytes:
        head = f"id: {self.id}\nevent: {self.event}\ndata: " if self.id else (
            f"event: {self.event}\ndata: "
        )  # fmt: skip
        return head.encode() + dumps(self.data) + b"\n\n"


KEEP_ALIVE = Sse("", None)
"""Sent as a comment, so that both sides notice a dead connection."""


async def stream(first: Sse | None, messages: AsyncIterator[Sse], what: str) -> StreamingResponse:
    """An answer with `first` (if any) and then `messages`.

    Waits for the first message before the status is chosen, so that what goes wrong before it has
    a status of its own. Later errors arrive as an `error` event, and end the stream.
    """
    if first is None:
        first = await anext(messages, None)

    async def body() -> AsyncIterator[bytes]:
        if first is not None:
            yield first.encode()
        try:
            async for message in messages:
                yield b": \n\n" if message is KEEP_ALIVE else message.encode()
        except Exception as error:  # noqa: BLE001 - told to the follower, its story is logged
            told = shown(error, what)
            yield Sse("error", {"status": told.status, **body_of(told)}).encode()

    return StreamingResponse(body(), media_type="text/event-stream")
