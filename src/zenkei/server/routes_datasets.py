"""Datasets: names, versions, tags, grants; and the work on their content as streams of events."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query
from pydantic import Field, StringConstraints
from starlette.responses import Response

from zenkei.api.requests import Body as Form
from zenkei.api.requests import Text
from zenkei.control.datapins import PinCache
from zenkei.control.datasets import Commit
from zenkei.control.datawork import GRACE_S, Made, Source
from zenkei.model.access import Principal
from zenkei.model.dataset import DatasetVersion, Permission
from zenkei.model.errors import Conflict
from zenkei.model.ids import JobId
from zenkei.ports.datasets import DatasetRows
from zenkei.server.asking import JobText, Svc, Who, job_id
from zenkei.server.errors import Json
from zenkei.server.services import Services, in_thread
from zenkei.server.working import Said, work

router = APIRouter()
Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Words = Annotated[str, Field(max_length=10_000, pattern=r"^[^\x00]*$")]
Tag = Annotated[str, Field(min_length=1, max_length=200)]
Limit = Annotated[int, Query(ge=1, le=10_000)]
Asked = Annotated[str, Field(min_length=1, max_length=300)]


class Create(Form):
    """A dataset without any version yet."""

    name: Tag
    description: Words = ""


class Describe(Form):
    """What the dataset is."""

    description: Words


class CommitBody(Form):
    """source: absolute path of a directory of the daemon's machine. tags: beside `latest`.

    create: make the dataset if there is none. reference: keep only where the files lie.
    """

    source: Text
    message: Words = ""
    tags: list[Tag] = Field(default_factory=list, max_length=20)
    create: bool = False
    reference: bool = False
    follow_links: bool = False
    exclude: list[Text] = Field(default_factory=list, max_length=100)


class Promote(Form):
    """name: of the dataset. create: make it if there is none. tags: beside `latest`."""

    name: Tag
    message: Words = ""
    tags: list[Tag] = Field(default_factory=list, max_length=20)
    create: bool = True


class Export(Form):
    """to: absolute path of a directory. only: paths of the version; none: everything."""

    version: Asked
    to: Text
    only: list[Text] = Field(default_factory=list, max_length=1000)
    overwrite: bool = False


class TagBody(Form):
    """version: as in a reference: `@3`, `@b3:…`, `:stable`; empty: the newest."""

    version: Annotated[str, Field(max_length=200, pattern=r"^([@:].*)?$")] = ""
    tag: Tag


class GrantBody(Form):
    """to: `user:NAME`, `group:NAME` or `public`."""

    to: Tag
    permission: Permission


class Verify(Form):
    """versions: references; none: all that one may read. deep: read the content too."""

    versions: list[Asked] = Field(default_factory=list, max_length=1000)
    deep: bool = True


class Mount(Form):
    """holder: a word of the asker's for it, as a path; the same word releases it."""

    version: Asked
    holder: Annotated[str, Field(min_length=1, max_length=4096, pattern=r"^[^\x00]*$")]


class Release(Form):
    """holder: as it was mounted."""

    holder: Annotated[str, Field(min_length=1, max_length=4096, pattern=r"^[^\x00]*$")]


class Collect(Form):
    """grace_s: what is younger stays."""

    dry_run: bool = False
    grace_s: float = Field(default=GRACE_S, ge=0, le=1e9, allow_inf_nan=False)


@router.get("/v1/datasets")
async def list_datasets(svc: Svc, who: Who) -> Response:
    """All that one may read, by name."""
    found = await in_thread(svc.datasets.names.list, who)
    return Json({"datasets": [rows_view(rows, newest_only=True) for rows in found]})


@router.post("/v1/datasets")
async def create_dataset(svc: Svc, who: Who, body: Annotated[Create, Body()]) -> Response:
    """The name, with who asks as its owner."""
    names = svc.datasets.names
    await in_thread(names.create, who, body.name, description=body.description)
    return Json(rows_view(await in_thread(names.show, who, body.name)))


@router.get("/v1/datasets/{name}")
async def show_dataset(svc: Svc, who: Who, name: Name) -> Response:
    """Owner, grants, versions, tags."""
    return Json(rows_view(await in_thread(svc.datasets.names.show, who, name)))


@router.patch("/v1/datasets/{name}")
async def describe_dataset(
    svc: Svc, who: Who, name: Name, body: Annotated[Describe, Body()]
) -> Response:
    """Change its description."""
    await in_thread(svc.datasets.names.describe, who, name, body.description)
    return Json(rows_view(await in_thread(svc.datasets.names.show, who, name)))


@router.delete("/v1/datasets/{name}")
async def remove_dataset(svc: Svc, who: Who, name: Name) -> Response:
    """The name with all versions; what jobs use is kept until they are forgotten."""
    await in_thread(svc.datasets.names.remove, who, name)
    return Json({"removed": name})


@router.get("/v1/datasets/{name}/history")
async def dataset_history(svc: Svc, who: Who, name: Name, limit: Limit = 100) -> Response:
    """What happened to it, oldest first."""
    events = await in_thread(svc.datasets.names.history, who, name, limit=limit)
    return Json({"events": [dataclasses.asdict(event) for event in events]})


@router.post("/v1/datasets/{name}/tags")
async def tag_version(svc: Svc, who: Who, name: Name, body: Annotated[TagBody, Body()]) -> Response:
    """Let a tag name a version from now on."""
    found = await in_thread(svc.datasets.names.tag, who, name + body.version, body.tag)
    return Json(version_view(found))


@router.delete("/v1/datasets/{name}/tags/{tag}")
async def untag(svc: Svc, who: Who, name: Name, tag: Name) -> Response:
    """Take a tag away; its version stays."""
    await in_thread(svc.datasets.names.untag, who, name, tag)
    return Json({"untagged": tag})


@router.post("/v1/datasets/{name}/grants")
async def grant(svc: Svc, who: Who, name: Name, body: Annotated[GrantBody, Body()]) -> Response:
    """Open it to somebody."""
    await in_thread(svc.datasets.names.grant, who, name, body.to, body.permission)
    return Json(rows_view(await in_thread(svc.datasets.names.show, who, name)))


@router.delete("/v1/datasets/{name}/grants/{to}")
async def revoke(svc: Svc, who: Who, name: Name, to: Name) -> Response:
    """Close it to somebody."""
    await in_thread(svc.datasets.names.revoke, who, name, to)
    return Json(rows_view(await in_thread(svc.datasets.names.show, who, name)))


@router.delete("/v1/datasets/{name}/versions/{version}")
async def remove_version(
    svc: Svc, who: Who, name: Name, version: Name, force: bool = False
) -> Response:
    """Content that nothing else names is removed by the next collection."""
    found = await in_thread(
        svc.datasets.names.remove_version, who, f"{name}@{version}", force=force
    )
    return Json(version_view(found))


@router.post("/v1/datasets/{name}/commit")
async def commit(svc: Svc, who: Who, name: Name, body: Annotated[CommitBody, Body()]) -> Response:
    """Events `progress`, then `done` with the version."""
    source = Source(
        path=body.source,
        reference=body.reference,
        exclude=tuple(body.exclude),
        follow_links=body.follow_links,
    )
    about = Commit(message=body.message, tags=tuple(body.tags))

    def do(said: Said) -> dict[str, Any]:
        if body.create:
            svc.datasets.names.ensure(who, name)
        done = svc.datasets.work.commit(who, name, source, about, said)
        return {**version_view(done.version), "is_new": done.is_new, "found": dict(done.found)}

    return await work(f"commit {name}", do)


@router.post("/v1/jobs/{job}/result/promote")
async def promote(
    svc: Svc,
    who: Who,
    job: JobText,
    body: Annotated[Promote, Body()],
    attempt: Annotated[int, Query(ge=0, lt=10**6)] = 0,
) -> Response:
    """A job's result becomes the next version of a dataset; the version says what it came from."""
    found = await job_id(svc, who, job)
    about = Commit(message=body.message, tags=tuple(body.tags))

    def do(said: Said) -> dict[str, Any]:
        made = _made(svc, who, found, attempt)
        if body.create:
            svc.datasets.names.ensure(who, body.name)
        done = svc.datasets.work.promote(who, body.name, made, about, said)
        return {**version_view(done.version), "is_new": done.is_new, "found": dict(done.found)}

    return await work(f"promote {found}", do)


def _made(svc: Services, who: Principal, job: JobId, attempt: int) -> Made:
    """Raises NotFound, Conflict for a result without files."""
    result = svc.queries.result(who, job, attempt)
    if not result.files:
        raise Conflict(
            "result-empty",
            f"the result of {result.attempt} has no files",
            hint=f"`zenkei result show {job}` tells what became of them",
        )
    pins = PinCache(svc.blobs).get(svc.queries.row(who, job).data)

    def write(to: str) -> None:
        manifest = svc.trees.manifest(result.output)
        svc.keeping.collector.export(manifest, Path(to), overwrite=False)

    inputs = tuple(f"{pin.name}@{pin.digest}" for pin in pins)
    return Made(attempt=result.attempt, inputs=inputs, write=write)


@router.post("/v1/dataset-export")
async def export(svc: Svc, who: Who, body: Annotated[Export, Body()]) -> Response:
    """Write a version into a directory of the daemon's machine, with its own rights."""

    def do(said: Said) -> dict[str, Any]:
        version, found = svc.datasets.work.export(
            who, body.version, body.to, said, only=tuple(body.only), overwrite=body.overwrite
        )
        return {**version_view(version), "to": body.to, "found": dict(found)}

    return await work("export", do)


@router.get("/v1/dataset-diff")
async def diff(
    svc: Svc, who: Who, a: Annotated[str, Query()], b: Annotated[str, Query()], limit: Limit = 100
) -> Response:
    """What was added, removed and changed between two versions."""
    found = await in_thread(svc.datasets.work.diff, who, a, b, _quiet, limit=limit)
    return Json(dict(found))


@router.get("/v1/datasets/{name}/files")
async def files(
    svc: Svc,
    who: Who,
    name: Name,
    version: Annotated[str, Query(max_length=300)] = "",
    under: Annotated[str, Query(max_length=4096)] = "",
    after: Annotated[str, Query(max_length=4096)] = "",
    limit: Limit = 1000,
) -> Response:
    """A page of a version's files, by path. version: as in a reference (`@3`, `:stable`)."""
    found, page = await in_thread(
        svc.datasets.work.files,
        who,
        name + version,
        _quiet,
        under=under,
        after=after,
        limit=limit,
    )
    return Json({"version": version_view(found), **page})


@router.post("/v1/dataset-mount")
async def mount(svc: Svc, who: Who, body: Annotated[Mount, Body()]) -> Response:
    """Show a version on the daemon's machine, read-only, until it is released."""

    def do(said: Said) -> dict[str, Any]:
        version, found = svc.datasets.work.mount(who, body.version, body.holder, said)
        return {**version_view(version), "path": found["path"], "kind": found["kind"]}

    return await work("mount", do)


@router.post("/v1/dataset-release")
async def release(svc: Svc, who: Who, body: Annotated[Release, Body()]) -> Response:
    """What was mounted under this word is no longer needed."""
    found = await in_thread(svc.datasets.work.release, who, body.holder, _quiet)
    return Json({"released": found["released"]})


@router.post("/v1/dataset-verify")
async def verify(svc: Svc, who: Who, body: Annotated[Verify, Body()]) -> Response:
    """Look whether content is there and undamaged."""

    def do(said: Said) -> Mapping[str, Any]:
        return svc.datasets.work.verify(who, tuple(body.versions), said, deep=body.deep)

    return await work("verify", do)


@router.post("/v1/dataset-collect")
async def collect(svc: Svc, who: Who, body: Annotated[Collect, Body()]) -> Response:
    """Remove content that no version and no job names any more."""

    def do(said: Said) -> Mapping[str, Any]:
        return svc.datasets.work.collect(who, said, dry_run=body.dry_run, grace_s=body.grace_s)

    return await work("collect", do)


def _quiet(_progress: Mapping[str, Any]) -> None:
    return


def version_view(version: DatasetVersion) -> dict[str, Any]:
    return dataclasses.asdict(version)


def rows_view(rows: DatasetRows, *, newest_only: bool = False) -> dict[str, Any]:
    """newest_only: for lists."""
    versions = [version_view(version) for _, version in sorted(rows.versions.items())]
    return {
        **dataclasses.asdict(rows.dataset),
        "tags": dict(rows.tags),
        "count": len(versions),
        "versions": versions[-1:] if newest_only else versions,
    }
