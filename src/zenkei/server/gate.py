"""What every request passes: the handshake, a bound for bodies, and the last net for defects.

Plain ASGI, wrapped around the application: no request is read further than its head before it.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from zenkei.api import version
from zenkei.model.errors import Conflict, InvalidInput
from zenkei.server import errors

MOST_BODY = 2 << 20


class Gate:
    """See the module's docstring. version: zenkei's own, told in every answer."""

    def __init__(self, app: ASGIApp, own_version: str) -> None:
        self._app = app
        self._headers = [
            (version.PROTOCOL_HEADER.encode(), str(version.PROTOCOL).encode()),
            (version.VERSION_HEADER.encode(), own_version.encode()),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = ended = False

        async def sending(message: Message) -> None:
            nonlocal started, ended
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message["headers"], *self._headers]
            ended = message["type"] == "http.response.body" and not message.get("more_body")
            await send(message)

        refusal = _refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, sending)
            return
        try:
            await self._app(scope, receive, sending)
        except Exception as error:
            if ended:
                return  # the framework told of it, with `errors`, and raised it once more
            told = errors.shown(error, scope["path"])
            if started:
                raise  # too late for a status: the connection is cut, which the client notices
            await errors.answer(told)(scope, receive, sending)


def _refusal(scope: Scope) -> errors.Json | None:
    headers = dict(scope["headers"])
    theirs = version.number(headers.get(version.PROTOCOL_HEADER.encode(), b"").decode("latin-1"))
    why = version.daemon_refuses(theirs)
    if why:
        newer = theirs > version.PROTOCOL
        hint = version.RESTART_HINT if newer else version.UPGRADE_HINT
        return errors.answer(Conflict("other-version", why, hint=hint))
    if b"transfer-encoding" in headers:
        return errors.answer(InvalidInput("length-required", "send a content-length"), 411)
    length = headers.get(b"content-length", b"0")
    if not length.isdigit() or int(length) > MOST_BODY:
        text = f"the body of a request has at most {MOST_BODY} bytes"
        return errors.answer(InvalidInput("body-too-large", text), 413)
    return None
