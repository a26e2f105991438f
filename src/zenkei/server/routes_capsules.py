"""Results as files for other installations: written, and taken in, as streams of events.

The files lie on the daemon's machine, which reads and writes them with its own rights.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body
from starlette.responses import Response

from zenkei.api.requests import Body as Form
from zenkei.api.requests import Text
from zenkei.control.capsules import Imported
from zenkei.server.asking import JobText, Svc, Who, job_id
from zenkei.server.working import Said, work

router = APIRouter()


class Write(Form):
    """to: absolute path of the file. data: with the files of its datasets."""

    to: Text
    data: bool = True
    overwrite: bool = False


class Take(Form):
    """path: absolute path of a capsule."""

    path: Text


@router.post("/v1/jobs/{job}/result/capsule")
async def write(svc: Svc, who: Who, job: JobText, body: Annotated[Write, Body()]) -> Response:
    """A finished job with code, environment's lock, data and result as one file."""
    found = await job_id(svc, who, job)

    def do(said: Said) -> Any:
        return svc.results.capsules.write(
            who, found, body.to, said, with_data=body.data, overwrite=body.overwrite
        )

    return await work(f"capsule of {found}", do)


@router.post("/v1/capsule-import")
async def take(svc: Svc, who: Who, body: Annotated[Take, Body()]) -> Response:
    """A capsule becomes a job that is over, with its result."""

    def do(said: Said) -> dict[str, Any]:
        return _imported(svc.results.capsules.take(who, body.path, said))

    return await work("import of a capsule", do)


def _imported(found: Imported) -> dict[str, Any]:
    return {
        "job": str(found.job),
        "is_new": found.is_new,
        "capsule": found.capsule,
        "came_from": found.facts.came_from,
        "owner": found.facts.owner,
        "name": found.facts.name,
        "state": found.facts.state,
        "datasets": dict(found.datasets),
        "missing": list(found.missing),
    }
