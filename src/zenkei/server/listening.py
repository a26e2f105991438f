"""uvicorn on a bound socket, without its ten ticks a second, stopped by a signal or by a route."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn

from zenkei.server.peer import protocol_for

PATIENCE_S = 1
"""Open streams are cut off after so long: their followers come back to the next daemon."""


class Listener(uvicorn.Server):
    """`run` serves until `stop` is called, from any thread, or SIGTERM or SIGINT arrives."""

    def __init__(self, app: Any, owner_uid: int, ready: Callable[[], None]) -> None:
        config = uvicorn.Config(
            app,
            http=protocol_for(owner_uid),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=PATIENCE_S,
        )
        super().__init__(config)
        self._ready = ready
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped: asyncio.Event | None = None

    def listen(self, sock: socket.socket) -> None:
        """Serve on a bound socket; returns after the clean stop."""
        self.run(sockets=[sock])

    def stop(self) -> None:
        self.should_exit = True
        if self._loop is not None and self._stopped is not None:
            self._loop.call_soon_threadsafe(self._stopped.set)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """uvicorn raises the signal again after its shutdown, which would kill us half-way."""
        self.stop()

    async def main_loop(self) -> None:
        """Wait instead of looking ten times a second: an idle daemon costs nothing."""
        self._loop = asyncio.get_running_loop()
        self._stopped = asyncio.Event()
        self._ready()
        if not self.should_exit:
            await self._stopped.wait()
