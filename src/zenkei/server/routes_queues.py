"""The cluster's file, its versions, switches, and the tree of queues."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Request
from pydantic import Field, StringConstraints
from starlette.responses import Response

from zenkei.api.requests import Body as Form
from zenkei.control.cluster import Applied
from zenkei.control.queuetree import QueueView, TreeView
from zenkei.model.clusterlog import Change, ClusterRecord
from zenkei.server.asking import Svc, Who, path_query
from zenkei.server.errors import Json
from zenkei.server.services import in_thread
from zenkei.spec import cluster as files
from zenkei.spec.limits import PLACE_CHARS

router = APIRouter()
Name = Annotated[str, StringConstraints(min_length=1, max_length=PLACE_CHARS)]
Reason = Annotated[str, StringConstraints(max_length=1000, pattern=r"^[^\x00]*$")]
Limit = Annotated[int, Query(ge=1, le=1000)]
Version = Annotated[int, Field(ge=0, le=1 << 53)]
BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/yaml": {"schema": {"type": "string"}}},
    }
}


class ApplyQuery(Form):
    """file: its name, for messages. expect: the version that the author has seen; another one in

    force is a conflict; -1: any. dry: only say what would change.
    """

    file: Annotated[str, Field(max_length=4096)] = ""
    expect: Annotated[int, Field(ge=-1, le=1 << 53)] = -1
    dry: bool = False


class Rollback(Form):
    """version 0: the one before the newest. expect, dry: as when a file is applied."""

    version: Version = 0
    expect: Annotated[int, Field(ge=-1, le=1 << 53)] = -1
    dry: bool = False


class Turn(Form):
    """Why, for everybody to see."""

    reason: Reason = ""


SILENT = Turn()


@router.get("/v1/cluster")
async def show_cluster(svc: Svc, who: Who) -> Response:
    """What is in force: the file as it was written, its meaning, and the switches."""
    record = await in_thread(svc.cluster.show, who)
    meaning = json.loads(files.canonical(record.config))
    return Json({**_record_view(record), "text": record.text, "config": meaning})


@router.post("/v1/cluster", openapi_extra=BODY)
async def apply_cluster(
    request: Request, svc: Svc, who: Who, query: Annotated[ApplyQuery, Query()]
) -> Response:
    """Body: a cluster file. It is in force for everything that starts from now on."""
    applied = await in_thread(
        svc.cluster.apply,
        who,
        await request.body(),
        file=path_query(request, "file") or "cluster.yaml",
        expected=None if query.expect < 0 else query.expect,
        dry=query.dry,
    )
    return Json(_applied_view(applied))


@router.get("/v1/cluster/history")
async def cluster_history(svc: Svc, who: Who, limit: Limit = 100) -> Response:
    """What operators did, oldest first, each with who, when and what it changed."""
    records = await in_thread(svc.cluster.history, who, limit=limit)
    return Json({"records": [_record_view(record) for record in records]})


@router.post("/v1/cluster/rollback")
async def rollback_cluster(svc: Svc, who: Who, body: Annotated[Rollback, Body()]) -> Response:
    """Bring an older file back, as a new version."""
    applied = await in_thread(
        svc.cluster.rollback,
        who,
        body.version,
        expected=None if body.expect < 0 else body.expect,
        dry=body.dry,
    )
    return Json(_applied_view(applied))


@router.get("/v1/queues")
async def queue_tree(svc: Svc, who: Who) -> Response:
    """All queues, each before those inside it: quota, what is held and borrowed, who waits."""
    return Json(_tree_view(await in_thread(svc.tree.show, who)))


@router.post("/v1/queues/{name}/pause")
async def pause_queue(
    svc: Svc, who: Who, name: Name, body: Annotated[Turn, Body()] = SILENT
) -> Response:
    """Nothing starts from the queue and those inside it; what runs goes on."""
    return Json(_record_view(await in_thread(svc.cluster.pause, who, name, reason=body.reason)))


@router.post("/v1/queues/{name}/resume")
async def resume_queue(
    svc: Svc, who: Who, name: Name, body: Annotated[Turn, Body()] = SILENT
) -> Response:
    """Jobs start from the queue again."""
    return Json(_record_view(await in_thread(svc.cluster.resume, who, name, reason=body.reason)))


@router.post("/v1/pause")
async def pause_all(svc: Svc, who: Who, body: Annotated[Turn, Body()] = SILENT) -> Response:
    """Nothing starts any more; what runs goes on."""
    return Json(_record_view(await in_thread(svc.cluster.pause, who, reason=body.reason)))


@router.post("/v1/unpause")
async def unpause_all(svc: Svc, who: Who, body: Annotated[Turn, Body()] = SILENT) -> Response:
    """Jobs start again."""
    return Json(_record_view(await in_thread(svc.cluster.resume, who, reason=body.reason)))


def _applied_view(applied: Applied) -> dict[str, Any]:
    return {
        "version": applied.version,
        "written": applied.written,
        "changes": [_change_view(change) for change in applied.changes],
        "warnings": list(applied.warnings),
        "nodes_placed": applied.placed,
    }


def _change_view(change: Change) -> dict[str, Any]:
    return {"path": change.path, "before": change.before, "after": change.after}


def _record_view(record: ClusterRecord) -> dict[str, Any]:
    return {
        "version": record.version,
        "kind": record.kind,
        "at_us": record.at_us,
        "by": record.by,
        "reason": record.reason,
        "queue": record.queue,
        "restored": record.restored,
        "digest": record.digest,
        "changes": [_change_view(change) for change in record.diff],
        "paused": [
            {
                "queue": switch.queue,
                "by": switch.by,
                "reason": switch.reason,
                "since_us": switch.since_us,
            }
            for switch in record.switches
        ],
    }


def _tree_view(tree: TreeView) -> dict[str, Any]:
    return {
        "configured": tree.configured,
        "paused": tree.paused,
        "total": _amounts_view(tree.total),
        "queues": [_queue_view(view) for view in tree.queues],
    }


def _queue_view(view: QueueView) -> dict[str, Any]:
    return {
        "name": view.queue.name,
        "parent": view.queue.parent,
        "depth": view.depth,
        "leaf": view.leaf,
        "quota": _amounts_view(view.quota),
        "cap": _amounts_view(view.cap),
        "held": _amounts_view(view.held),
        "borrowed": _amounts_view(view.borrowed),
        "share": view.share_milli / 1000,
        "weight": view.queue.weight_milli / 1000,
        "priority": view.queue.priority,
        "gpu_types": list(view.queue.gpu_kinds),
        "borrow": view.queue.borrow,
        "waiting": view.waiting,
        "running": view.running,
        "paused": view.queue.paused,
        "closed": view.closed,
    }


_SIZES = {"cpus": "cpu_milli", "memory": "memory_bytes", "gpus": "gpu_milli"}


def _amounts_view(amounts: Mapping[str, int]) -> dict[str, Any]:
    """What is not said is left out; by_model: thousandths of GPUs."""
    found: dict[str, Any] = {key: amounts[r] for r, key in _SIZES.items() if r in amounts}
    models = {r.removeprefix("gpus."): n for r, n in amounts.items() if r.startswith("gpus.")}
    return {**found, "gpu_milli_by_model": models}
