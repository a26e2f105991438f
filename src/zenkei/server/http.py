"""The HTTP application: routes, errors, gate. Made once by the composition root, and by tests."""

from __future__ import annotations

from fastapi import FastAPI

from zenkei.server import (
    errors,
    routes_capsules,
    routes_checkpoints,
    routes_cluster,
    routes_datasets,
    routes_exec,
    routes_jobs,
    routes_metrics,
    routes_nodes,
    routes_queues,
    routes_reproduce,
    routes_results,
    routes_secrets,
    routes_streams,
    routes_submit,
    routes_upkeep,
)
from zenkei.server.gate import Gate
from zenkei.server.services import Services

ROUTERS = (
    routes_submit.router,
    routes_jobs.router,
    routes_checkpoints.router,
    routes_streams.router,
    routes_results.router,
    routes_reproduce.router,
    routes_capsules.router,
    routes_metrics.router,
    routes_exec.router,
    routes_cluster.router,
    routes_nodes.router,
    routes_queues.router,
    routes_secrets.router,
    routes_upkeep.router,
    routes_datasets.router,
)


def create(services: Services) -> Gate:
    """An ASGI application over `services`."""
    app = api(services)
    return Gate(app, services.version)


def api(services: Services) -> FastAPI:
    """The application without its gate; its OpenAPI document is the reference's source."""
    app = FastAPI(
        title="zenkei",
        version=services.version,
        openapi_url="/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    app.state.services = services
    errors.install(app)
    for router in ROUTERS:
        app.include_router(router)
    return app
