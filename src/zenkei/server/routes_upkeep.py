"""Environments on this machine, and removing what nobody needs any more."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query
from pydantic import Field
from starlette.responses import Response

from zenkei.api import limits
from zenkei.api.requests import Body as Form
from zenkei.api.requests import Text
from zenkei.model.data import Digest, Manifest
from zenkei.model.errors import InvalidInput
from zenkei.ports.upkeep import EnvironmentRow
from zenkei.server.asking import JobText, Svc, Who, job_id
from zenkei.server.errors import Json
from zenkei.server.services import in_thread

router = APIRouter()
Lock = Annotated[str, Query(max_length=80)]


class Prune(Form):
    """older_than_s: since its end. keep: so many of the newest submissions stay in any case."""

    older_than_s: float = Field(default=30 * 86400.0, ge=0, le=1e9, allow_inf_nan=False)
    keep: int = Field(default=0, ge=0, le=limits.JOBS_KEPT)
    dry_run: bool = False


class Collect(Form):
    """cache: also what builds reuse (they download again)."""

    cache: bool = False


class Fetch(Form):
    """to: absolute path of a directory; made if it is not there. overwrite: replace files."""

    to: Text
    overwrite: bool = False


ALL_BUT_CACHE = Collect()
MONTH_OLD = Prune()


@router.get("/v1/environments")
async def list_environments(svc: Svc, who: Who) -> Response:
    """All environments of this machine, last used first."""
    rows, in_use, cache_bytes = await in_thread(svc.keeping.upkeep.environments)
    return Json({"environments": _views(rows, in_use), "cache_bytes": cache_bytes})


@router.get("/v1/environments/{lock}")
async def show_environment(svc: Svc, who: Who, lock: str) -> Response:
    """Those of one lock (one per interpreter), each checked against its signature."""

    def read() -> dict[str, Any]:
        rows = svc.keeping.upkeep.environment(lock)
        return {"environments": _views(rows, svc.keeping.upkeep.locks_in_use())}

    return Json(await in_thread(read))


@router.delete("/v1/environments/{lock}")
async def remove_environment(svc: Svc, who: Who, lock: str) -> Response:
    """It is built again from its lock when a job needs it."""
    found, freed = await in_thread(svc.keeping.upkeep.remove_environment, who, lock)
    return Json({"lock": found, "freed_bytes": freed})


@router.post("/v1/environments/collect")
async def collect_environments(
    svc: Svc, who: Who, body: Annotated[Collect, Body()] = ALL_BUT_CACHE
) -> Response:
    """Remove all that no unfinished job needs and nobody has used within the hour."""
    freed = await in_thread(svc.keeping.upkeep.collect_environments, who, cache=body.cache)
    return Json({"freed_bytes": freed})


@router.post("/v1/environments/refresh")
async def refresh_environments(svc: Svc, who: Who) -> Response:
    """Jobs that are submitted from now on get the newest versions that their files allow."""
    return Json({"forgotten": await in_thread(svc.keeping.upkeep.refresh_environments, who)})


@router.post("/v1/prune")
async def prune(svc: Svc, who: Who, body: Annotated[Prune, Body()] = MONTH_OLD) -> Response:
    """Forget old jobs and all that is kept about them; then what nothing refers to any more."""
    found = await in_thread(
        svc.keeping.upkeep.prune,
        who,
        older_than_s=body.older_than_s,
        keep=body.keep,
        dry_run=body.dry_run,
    )
    freed = {
        "folders": found.folder_bytes,
        "contents": found.content_bytes,
        "environments": found.environment_bytes,
    }
    return Json(
        {
            "jobs": [str(job) for job in found.jobs],
            "dry_run": found.dry_run,
            "contents": found.contents,
            "freed_bytes": freed,
        }
    )


@router.post("/v1/jobs/{job}/result/fetch")
async def fetch_result(
    svc: Svc,
    who: Who,
    job: JobText,
    body: Annotated[Fetch, Body()],
    attempt: Annotated[int, Query(ge=0, lt=10**6)] = 0,
) -> Response:
    """Write a result into a directory of this machine, with the daemon's own rights."""
    found = await job_id(svc, who, job)
    to = Path(body.to)
    if not to.is_absolute():
        raise InvalidInput("bad-path", f"`{body.to[:100]}` is not an absolute path")

    def write() -> dict[str, Any]:
        result = svc.queries.result(who, found, attempt)
        nothing = Manifest(digest=Digest(""), entries=(), size_bytes=0)
        manifest = svc.trees.manifest(result.output) if result.output else nothing
        left_out = svc.keeping.collector.export(manifest, to, overwrite=body.overwrite)
        return {
            "job": str(found),
            "attempt": result.attempt,
            "to": str(to),
            "files": result.files,
            "size_bytes": result.size_bytes,
            "left_out": [{"path": out.path, "why": out.why} for out in left_out],
        }

    return Json(await in_thread(write))


def _views(rows: Iterable[EnvironmentRow], in_use: frozenset[Digest]) -> list[dict[str, Any]]:
    return [
        {
            "lock": row.lock,
            "python": row.python,
            "packages": row.packages,
            "size_bytes": row.size_bytes,
            "built_at_us": row.built_at_us,
            "used_at_us": row.used_at_us,
            "state": row.state,
            "path": row.path,
            "in_use": row.lock in in_use,
        }
        for row in rows
    ]
