"""Single nodes: what they are, what happened to them, an operator's drain, resume and labels."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Query
from pydantic import Field, StringConstraints
from starlette.responses import Response

from zenkei.api import views
from zenkei.api.requests import Body as Form
from zenkei.control.nodecommands import NodeView
from zenkei.server.asking import Svc, Who
from zenkei.server.errors import Json
from zenkei.server.services import in_thread
from zenkei.spec.limits import LABELS
from zenkei.spec.names import LABEL_PATTERN

router = APIRouter()
Name = Annotated[str, StringConstraints(max_length=253)]
Reason = Annotated[str, StringConstraints(max_length=1000, pattern=r"^[^\x00]*$")]
Key = Annotated[str, StringConstraints(max_length=63, pattern=f"^(?:{LABEL_PATTERN})$")]
Value = Annotated[str, StringConstraints(max_length=80, pattern=r"^[\x20-\x7e]*$")]
Limit = Annotated[int, Query(ge=1, le=1000)]


class Drain(Form):
    """preempt: also ask what runs there to save a checkpoint and go on elsewhere."""

    reason: Reason = Field(min_length=1)
    preempt: bool = False


class Resume(Form):
    """Why the node takes work again."""

    reason: Reason = ""


class Label(Form):
    """set: labels with their values. remove: own labels to be taken away."""

    set: dict[Key, Value] = Field(default_factory=dict, max_length=LABELS)
    remove: list[Key] = Field(default_factory=list, max_length=LABELS)
    reason: Reason = ""


@router.get("/v1/nodes/{name}")
async def show_node(svc: Svc, who: Who, name: Name) -> Response:
    """A node with what is held on it, and what happened to it, newest last."""
    found = await in_thread(svc.nodes.show, who, name)
    events = await in_thread(svc.nodes.events, who, name)
    return Json({**_view(found), "events": [views.node_event_view(e) for e in events]})


@router.get("/v1/node-events")
async def node_events(
    svc: Svc, who: Who, node: Annotated[Name, Query()] = "", limit: Limit = 1000
) -> Response:
    """What happened to nodes, newest last: to one, or to all."""
    found = await in_thread(svc.nodes.events, who, node, limit=limit)
    return Json({"events": [views.node_event_view(event) for event in found]})


@router.post("/v1/nodes/{name}/drain")
async def drain(svc: Svc, who: Who, name: Name, body: Annotated[Drain, Body()]) -> Response:
    """Nothing new starts there. What runs goes on, unless `preempt`."""
    found = await in_thread(svc.nodes.drain, who, name, reason=body.reason, preempt=body.preempt)
    return Json(_view(found))


@router.post("/v1/nodes/{name}/resume")
async def resume(svc: Svc, who: Who, name: Name, body: Annotated[Resume, Body()]) -> Response:
    """Take work again; a node that was suspect or down is checked first."""
    return Json(_view(await in_thread(svc.nodes.resume, who, name, reason=body.reason)))


@router.post("/v1/nodes/{name}/labels")
async def label(svc: Svc, who: Who, name: Name, body: Annotated[Label, Body()]) -> Response:
    """Set own labels and take them away; the engine's come back under a name that is free."""
    found = await in_thread(
        svc.nodes.label,
        who,
        name,
        labels=body.set,
        without=tuple(body.remove),
        reason=body.reason,
    )
    return Json(_view(found))


def _view(found: NodeView) -> dict[str, Any]:
    return {
        **views.node_view(found.node, found.held),
        "preempted": [str(job.id) for job in found.preempted],
    }
