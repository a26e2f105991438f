"""Errors to status and body. A defect gets an incident id; its story goes to the log only."""

from __future__ import annotations

import logging
import secrets
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from zenkei.api.errors import body_of
from zenkei.api.wire import dumps
from zenkei.model.errors import InternalError, InvalidInput, NotFound, Problem, ZenkeiError

log = logging.getLogger(__name__)


class Json(Response):
    """A value as `api.wire` writes it."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return dumps(content)


def install(app: FastAPI) -> None:
    """Every way in which a route can fail ends in the error body."""
    app.add_exception_handler(ZenkeiError, _zenkei)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _zenkei)


def answer(error: ZenkeiError, status: int = 0) -> Json:
    return Json(body_of(error), status_code=status or error.status)


def incident(error: BaseException, what: str) -> InternalError:
    """Log a defect and return what may be told about it."""
    number = secrets.token_hex(4)
    log.error("incident=%s in=%s", number, what, exc_info=error)
    return InternalError(
        "internal",
        f"a defect of zenkei (incident {number})",
        hint=f"daemon.log has its story: grep {number}",
        details={"incident": number},
    )


def shown(error: Exception, what: str) -> ZenkeiError:
    """The error to tell: itself if it is meant for people, else an incident."""
    if isinstance(error, InternalError):
        log.error("internal error code=%s in=%s", error.code, what, exc_info=error)
        return error
    return error if isinstance(error, ZenkeiError) else incident(error, what)


async def _zenkei(request: Request, error: Exception) -> Response:
    return answer(shown(error, request.url.path))


async def _gone(_request: Request, _error: Exception) -> Response:
    """Who hung up in the middle of a request hears no answer, and is no defect of ours."""
    return Response(status_code=400)


async def _validation(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    problems = tuple(
        Problem(
            code="bad-request",
            message=f"`{'.'.join(map(str, one['loc'][1:]))}`{_given(one)}: {one['msg']}",
            hint=f"in the {one['loc'][0]} of the request",
        )
        for one in error.errors()[:100]
    )
    message = problems[0].message if problems else "the request is malformed"
    return answer(InvalidInput("bad-request", message, problems=problems))


def _given(one: Any) -> str:
    """The value that was refused, if it is a short one."""
    given = one.get("input")
    return f" cannot be `{given!s:.60}`" if isinstance(given, str | int | float) else ""


async def _http(request: Request, error: Exception) -> Response:
    """Of the framework itself: no such route, method not allowed."""
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        message = f"the daemon has no route {request.url.path[:200]}"
        return answer(NotFound("no-such-route", message, hint="GET /v1/version shows its version"))
    refused = InvalidInput("bad-request", str(error.detail)[:500])
    return answer(refused, status=error.status_code)
