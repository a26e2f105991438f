"""What routes read from a request: who asks, which job, the body of a submit."""

from __future__ import annotations

import os
from typing import Annotated
from urllib.parse import unquote_to_bytes

from fastapi import Depends, Request
from pydantic import StringConstraints

from zenkei.model.access import Principal
from zenkei.model.errors import Denied, InvalidInput
from zenkei.model.ids import JobId
from zenkei.server.services import Services, in_thread

JobText = Annotated[str, StringConstraints(max_length=40)]


def services(request: Request) -> Services:
    """The daemon's services; put there by `http.create`."""
    found: Services = request.app.state.services
    return found


def principal(request: Request) -> Principal:
    """Who is at the other end of the socket, as the kernel says. Raises Denied."""
    client = request.scope.get("client")
    if client is None or not client[0].isdigit():
        raise Denied("unknown-peer", "the daemon does not know who asks")
    return services(request).principal(int(client[0]))


Svc = Annotated[Services, Depends(services)]
Who = Annotated[Principal, Depends(principal)]


async def job_id(asked: Services, who: Principal, text: str) -> JobId:
    """`42`, `42.7`, or `-`. Raises InvalidInput, NotFound."""
    if text != "-":
        return JobId.parse(text)
    return await in_thread(asked.queries.resolve, who, text)


def path_query(request: Request, name: str) -> str:
    """A query parameter that is a path: its bytes may be no UTF-8."""
    for part in request.scope["query_string"].split(b"&"):
        key, _, value = part.partition(b"=")
        if key == name.encode():
            found = os.fsdecode(unquote_to_bytes(value.replace(b"+", b" ")))
            if "\0" in found or len(found) > 4096:
                raise InvalidInput("bad-path", f"`{name}` is not a path")
            return found
    return ""
