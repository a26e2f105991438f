"""Secrets of a project: set, names, remove. A value comes in, and none ever goes out."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from zenkei.model.access import Principal, Target, Verb, can
from zenkei.model.errors import Denied
from zenkei.server.asking import Svc, Who
from zenkei.server.errors import Json
from zenkei.server.services import in_thread

router = APIRouter()
Project = Annotated[str, Query(max_length=400)]
BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.get("/v1/secrets")
async def list_secrets(svc: Svc, who: Who, project: Project = "default") -> Response:
    """Names only."""
    _check(who, project)
    names = await in_thread(svc.keeping.secrets.names, project)
    return Json({"project": project, "names": names})


@router.put("/v1/secrets/{name:path}", openapi_extra=BODY)
async def set_secret(
    request: Request, svc: Svc, who: Who, name: str, project: Project = "default"
) -> Response:
    """The body is the value, byte for byte. Running attempts keep the value they started with."""
    _check(who, project)
    await in_thread(svc.keeping.secrets.set, project, name, await request.body())
    return Json({"project": project, "name": name})


@router.delete("/v1/secrets/{name:path}")
async def remove_secret(svc: Svc, who: Who, name: str, project: Project = "default") -> Response:
    """For attempts to come; running ones keep theirs."""
    _check(who, project)
    await in_thread(svc.keeping.secrets.remove, project, name)
    return Json({"project": project, "name": name})


def _check(who: Principal, project: str) -> None:
    """Whoever sets a secret decides what the project's jobs may use it for: more than reading."""
    if not can(who, Verb.CONTROL, Target(project=project)):
        raise Denied("may-not-keep-secrets", f"{who.name} may not keep secrets of {project[:100]}")
