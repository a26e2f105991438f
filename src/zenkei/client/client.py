"""Requests to the daemon of one home. Used by the command line, and later by the SDK outside jobs.

One connection a request. `get`, `post`, `put`, `delete` return decoded JSON, `stream` yields
events, `fetch` bytes. Every refusal is a Failure with the daemon's code and hint.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

from zenkei import __version__
from zenkei.api import version
from zenkei.client import connection, places
from zenkei.client.failure import Failure, NotRunning, of_answer
from zenkei.client.sse import Message, messages

TIMEOUT_S = 60.0
"""Silence after which an answer is given up; event streams send something every 15 s."""
Query = str | int | float | bool | None


class Client:
    """home: state directory of the daemon that is meant."""

    def __init__(self, home: str) -> None:
        self.home = home

    def get(self, path: str, **query: Query) -> Any:
        return self._json("GET", path, query, b"", "")

    def post(self, path: str, body: Any = None, **query: Query) -> Any:
        """body: a JSON value, or bytes that are sent as they are (a job file)."""
        data, kind = _encoded(body)
        return self._json("POST", path, query, data, kind)

    def put(self, path: str, body: Any = None, **query: Query) -> Any:
        data, kind = _encoded(body)
        return self._json("PUT", path, query, data, kind)

    def delete(self, path: str, **query: Query) -> Any:
        return self._json("DELETE", path, query, b"", "")

    def fetch(self, path: str, **query: Query) -> Iterator[bytes]:
        """A body that is no JSON, in pieces."""
        answer = self._open("GET", path, query, b"", {})
        try:
            yield from answer.pieces()
        finally:
            answer.close()

    def stream(
        self, method: str, path: str, body: Any = None, *, after: str = "", **query: Query
    ) -> Iterator[Message]:
        """Events of a stream until the daemon ends it. after: id of the last one seen.

        Raises Disconnected if the stream breaks; start again with the last id.
        """
        data, kind = _encoded(body)
        headers = {"accept": "text/event-stream"}
        if kind:
            headers["content-type"] = kind
        if after:
            headers["last-event-id"] = after
        answer = self._open(method, path, query, data, headers)
        try:
            yield from messages(answer.pieces())
        finally:
            answer.close()

    def health(self) -> dict[str, Any]:
        """What works and what does not; of an unwell daemon too, which answers with status 503."""
        answer = self._open("GET", "/v1/health", {}, b"", {}, good=(503,))
        try:
            found: dict[str, Any] = _decoded(answer.body())
        finally:
            answer.close()
        if "problems" not in found:
            raise of_answer(answer.status, found)
        return found

    def _json(self, method: str, path: str, query: dict[str, Query], body: bytes, kind: str) -> Any:
        answer = self._open(method, path, query, body, {"content-type": kind} if kind else {})
        try:
            return _decoded(answer.body())
        finally:
            answer.close()

    def _open(
        self,
        method: str,
        path: str,
        query: dict[str, Query],
        body: bytes,
        headers: dict[str, str],
        good: tuple[int, ...] = (),
    ) -> connection.Answer:
        """good: statuses from 400 on that are no failure here."""
        places.check_home(self.home, os.geteuid())
        where = places.socket_path(self.home)
        if not where:
            raise NotRunning(f"no daemon has run with the home {self.home} yet")
        sock = connection.connect(where, timeout_s=TIMEOUT_S)
        try:
            self._check_peer(sock, where)
            headers |= {
                version.PROTOCOL_HEADER: str(version.PROTOCOL),
                version.VERSION_HEADER: __version__,
                "connection": "close",
            }
            answer = connection.send(sock, method, path + _query(query), headers, body)
            self._check_version(answer)
            if answer.status >= 400 and answer.status not in good:
                raise of_answer(answer.status, _decoded(answer.body()))
        except BaseException:
            sock.close()
            raise
        return answer

    def _check_peer(self, sock: Any, where: str) -> None:
        owner = os.stat(self.home).st_uid
        uid = connection.peer_uid(sock)
        if uid != owner:
            raise Failure(
                "daemon-of-another",
                f"a process of uid {uid} listens at {where}, the home belongs to uid {owner}",
                hint="stop that process, and remove the socket",
                exit_code=5,
            )

    def _check_version(self, answer: connection.Answer) -> None:
        theirs = version.number(answer.headers.get(version.PROTOCOL_HEADER))
        refusal = version.client_refuses(theirs)
        if refusal:
            older = theirs < version.OLDEST_DAEMON
            hint = version.RESTART_HINT if older else version.UPGRADE_HINT
            raise Failure("other-version", refusal, hint=hint, exit_code=6)


_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def segment(text: str) -> str:
    """One part of a path, quoted, whatever is in it (`/` included). urllib costs 5 ms to import."""
    return "".join(chr(b) if b in _PLAIN else f"%{b:02X}" for b in os.fsencode(text))


def _query(query: dict[str, Query]) -> str:
    parts = []
    for name, value in query.items():
        if value is None or value is False or value == "":
            continue
        text = "1" if value is True else str(value)
        parts.append(f"{name}={segment(text)}")
    return "?" + "&".join(parts) if parts else ""


def _encoded(body: Any) -> tuple[bytes, str]:
    if body is None:
        return b"", ""
    if isinstance(body, bytes):
        return body, "application/yaml"
    return json.dumps(body).encode(), "application/json"


def _decoded(body: bytes) -> Any:
    try:
        return json.loads(body) if body else None
    except ValueError:
        raise Failure("bad-answer", "the daemon's answer is no JSON") from None
