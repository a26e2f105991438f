"""A client for this person's daemon that starts it when none runs. Verbs begin with `open`."""

from __future__ import annotations

import os
from typing import Any

from zenkei.client import places
from zenkei.client.client import Client, Query
from zenkei.client.connection import Answer
from zenkei.client.failure import Disconnected, NotRunning


class Session(Client):
    """Like Client; a missing daemon is started once per request."""

    def _open(
        self,
        method: str,
        path: str,
        query: dict[str, Query],
        body: bytes,
        headers: dict[str, str],
        good: tuple[int, ...] = (),
    ) -> Answer:
        try:
            return super()._open(method, path, query, body, headers, good)
        except Disconnected as gone:
            # a daemon that was just ending may have done what was asked: only reading is repeated
            if method != "GET" and not isinstance(gone, NotRunning):
                raise
            from zenkei.cli import starting

            starting.start(self.home)
        return super()._open(method, path, query, body, headers, good)


def open() -> Session:  # noqa: A001 - `session.open()` is what it does
    """The session of ZENKEI_HOME."""
    return Session(places.home(os.environ))


def running() -> Client:
    """A client that does not start a daemon (`down`, `doctor`)."""
    return Client(places.home(os.environ))


def print_json(value: Any) -> None:
    """The one form of --json: a document on one line."""
    import json

    print(json.dumps(value, ensure_ascii=False))
