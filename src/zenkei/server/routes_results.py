"""What a job left: the list of its files, their content, and its record."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, BinaryIO

from fastapi import APIRouter, Query, Request
from starlette.responses import Response, StreamingResponse

from zenkei.api import views
from zenkei.model.data import Entry, EntryKind
from zenkei.model.errors import InvalidInput, NotFound
from zenkei.server.asking import JobText, Svc, Who, job_id, path_query
from zenkei.server.errors import Json
from zenkei.server.services import in_thread

router = APIRouter()
PIECE = 1 << 20
Attempt = Annotated[int, Query(ge=0, lt=10**6)]


@router.get("/v1/jobs/{job}/result")
async def job_result(svc: Svc, who: Who, job: JobText, attempt: Attempt = 0) -> Response:
    """The result of the last attempt (or of one), with its files."""
    found = await job_id(svc, who, job)

    def read() -> dict[str, Any]:
        result = svc.queries.result(who, found, attempt)
        entries = svc.trees.manifest(result.output).entries if result.output else ()
        return {
            "job": str(found),
            "result": views.result_view(result),
            "origin": svc.queries.origin(svc.queries.row(who, found)),
            "entries": [_entry(entry) for entry in entries],
        }

    return Json(await in_thread(read))


@router.get("/v1/jobs/{job}/result/file")
async def result_file(
    request: Request,
    svc: Svc,
    who: Who,
    job: JobText,
    path: Annotated[str, Query(max_length=4096)],
    attempt: Attempt = 0,
) -> Response:
    """The bytes of one file of a result."""
    found = await job_id(svc, who, job)
    wanted = path_query(request, "path")

    def find() -> tuple[BinaryIO, Entry]:
        result = svc.queries.result(who, found, attempt)
        entries = svc.trees.manifest(result.output).entries if result.output else ()
        for entry in entries:
            if entry.path == wanted:
                if entry.kind is not EntryKind.FILE:
                    raise InvalidInput("no-regular-file", f"{path} is a {entry.kind}")
                return svc.blobs.open(entry.digest), entry
        hint = f"`zenkei result {job}` lists the files"
        raise NotFound("no-such-file", f"the result of job {job} has no file {path}", hint=hint)

    file, entry = await in_thread(find)
    headers = {"content-length": str(entry.size_bytes)}
    return StreamingResponse(_pieces(file), media_type="application/octet-stream", headers=headers)


@router.get("/v1/jobs/{job}/record")
async def job_record(svc: Svc, who: Who, job: JobText, attempt: Attempt = 0) -> Response:
    """The record, as written when the attempt was sealed."""
    found = await job_id(svc, who, job)
    record = await in_thread(svc.queries.record, who, found, attempt)
    return Response(record, media_type="application/json")


@router.get("/v1/jobs/{job}/diff")
async def job_diff(svc: Svc, who: Who, job: JobText) -> Response:
    """How tracked files differed from the commit at submit: bytes that `git apply` takes."""
    found = await job_id(svc, who, job)
    diff = await in_thread(svc.queries.diff, who, found)
    return Response(diff, media_type="application/octet-stream")


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    """A damaged blob raises at its end, which cuts the connection: nobody keeps half a file."""
    with file:
        while piece := file.read(PIECE):
            yield piece


def _entry(entry: Entry) -> dict[str, Any]:
    return {
        "path": entry.path,
        "kind": entry.kind,
        "mode": entry.mode,
        "size_bytes": entry.size_bytes,
        "digest": entry.digest,
        "target": entry.target,
    }
