"""The cluster and the daemon itself: nodes, health, metrics, version, stop."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Body
from starlette.responses import PlainTextResponse, Response

from zenkei.api import views
from zenkei.api.requests import Shutdown, VirtualNodes
from zenkei.api.version import PROTOCOL
from zenkei.model.access import Principal, Target, Verb, can
from zenkei.model.errors import Denied
from zenkei.model.job import StopReason
from zenkei.server.asking import Svc, Who
from zenkei.server.errors import Json
from zenkei.server.follow import Wakes
from zenkei.server.services import Services, in_thread

router = APIRouter()
DAEMON_ONLY = Shutdown()
STOP_GRACE_S = 10.0
STOP_PATIENCE_S = 40.0


@router.get("/v1/nodes")
async def list_nodes(svc: Svc, who: Who) -> Response:
    """All nodes with what is held on them."""
    cluster = await in_thread(svc.queries.nodes, who)
    held = cluster.allocations
    return Json({"nodes": [views.node_view(node, held) for node in cluster.nodes]})


@router.put("/v1/nodes")
async def declare_nodes(svc: Svc, who: Who, body: Annotated[VirtualNodes, Body()]) -> Response:
    """From now on these virtual nodes are this machine; 0: the machine as it is."""
    _operate(who)
    await in_thread(svc.declare, body)
    cluster = await in_thread(svc.queries.nodes, who)
    return Json({"nodes": [views.node_view(node, cluster.allocations) for node in cluster.nodes]})


@router.get("/v1/health")
async def health(svc: Svc, who: Who) -> Response:
    """What works and what does not; status 503 if nothing can run."""
    found = await in_thread(svc.health)
    return Json(found, status_code=200 if found["ok"] else 503)


@router.get("/v1/version")
async def version(svc: Svc, who: Who) -> Response:
    return Json({"version": svc.version, "protocol": PROTOCOL})


@router.get("/metrics")
async def metrics(svc: Svc, who: Who) -> Response:
    """Prometheus text."""
    found = await in_thread(svc.health)
    return PlainTextResponse(exposition(found), media_type="text/plain; version=0.0.4")


@router.post("/v1/shutdown", status_code=202)
async def shutdown(svc: Svc, who: Who, body: Annotated[Shutdown, Body()] = DAEMON_ONLY) -> Response:
    """Stop the daemon. Running jobs go on, unless `jobs`: then they are stopped first."""
    _operate(who)
    stopped = await _stop_all(svc, who.name) if body.jobs else []
    left = len(await in_thread(svc.store.allocations))
    asyncio.get_running_loop().call_later(0.05, svc.stop)
    return Json({"stopped": stopped, "running": left}, status_code=202)


async def _stop_all(svc: Services, by: str) -> list[str]:
    """Until nothing is held any more, or the patience is over. Returns which jobs were stopped.

    Those who wait get nothing of what falls free. What a plan in the making still starts is stopped
    in the next round.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + STOP_PATIENCE_S
    stopped: dict[str, None] = {}
    svc.hold_starts("the daemon stops")
    try:
        async with Wakes(svc.feed.subscribe) as wakes:
            while await in_thread(svc.store.allocations) and loop.time() < deadline:
                rows = await in_thread(
                    svc.commands.stop_attempts,
                    StopReason.USER_CANCEL,
                    by=by,
                    grace_s=STOP_GRACE_S,
                )
                stopped |= dict.fromkeys(str(row.id) for row in rows)
                await wakes.wait(1.0)
                wakes.clear()
    except BaseException:
        svc.hold_starts("")
        raise
    return list(stopped)


def _operate(who: Principal) -> None:
    if not can(who, Verb.OPERATE, Target()):
        raise Denied("may-not-operate", f"{who.name} may not operate the cluster")


def exposition(found: dict[str, Any]) -> str:
    """The health as Prometheus gauges: names with units, one line each."""
    lines = ["# TYPE zenkei_jobs gauge"]
    lines += [f'zenkei_jobs{{state="{s}"}} {n}' for s, n in sorted(found["jobs"].items())]
    gauges = {
        "zenkei_up": int(found["ok"]),
        "zenkei_step_age_seconds": found["step_age_s"],
        "zenkei_event_seq": found["seq"],
        "zenkei_effects_in_flight": found["effects_in_flight"],
        "zenkei_disk_free_bytes": found["disk"]["free_bytes"],
        "zenkei_disk_total_bytes": found["disk"]["total_bytes"],
        "zenkei_daemon_started_seconds": found["started_us"] / 1e6,
        "zenkei_daemon_memory_bytes": found["memory_bytes"],
    }
    for name, value in gauges.items():
        lines += [f"# TYPE {name} gauge", f"{name} {value}"]
    return "\n".join(lines) + "\n"
