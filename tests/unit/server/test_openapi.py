"""Requests made up from the OpenAPI document: whatever is sent, the answer is never a defect.

Left out: streams that end only when a job does, and those that would run for ever by design.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.keeping import CollectorDouble, EnvironmentsDouble, FoldersDouble
from tests.plant import Plant
from tests.served import ECHO, services_of
from zenkei import spec
from zenkei.auth.secrets import FileSecrets
from zenkei.control.upkeep import Upkeep
from zenkei.model.access import Principal
from zenkei.model.errors import NotFound
from zenkei.server import http
from zenkei.server.keeping import Keeping
from zenkei.store.memory import MemoryStore

ENDLESS = {"/v1/events", "/v1/jobs/{job}/follow"}
ME = Principal(name="ann", uid=1000, operator=True)


def no_command(*_: object) -> Any:
    raise NotFound("no-such-attempt", "nothing runs")


def app_over(plant: Plant, home: Path) -> Any:
    """The whole application, asked by a peer of uid 1000."""
    collector = CollectorDouble()
    upkeep = Upkeep(
        store=plant.store,
        maintenance=cast(MemoryStore, plant.store),
        environments=EnvironmentsDouble(),
        collector=collector,
        folders=FoldersDouble(),
        clock=plant.clock,
    )
    keeping = Keeping(
        secrets=FileSecrets(home / "secrets"),
        upkeep=upkeep,
        collector=collector,
        execute=no_command,
    )
    gate = http.create(replace(services_of(plant, home, ME), keeping=keeping))

    async def with_peer(scope: Any, receive: Any, send: Any) -> None:
        await gate(scope | {"client": ("1000", 1)}, receive, send)

    return with_peer


def a_plant() -> Plant:
    """Jobs in several states, so that ids that are made up hit something."""
    plant = Plant()
    for body in (b"", b"array: 3\n", b"resources: {gpus: 1}\n"):
        plant.commands.submit(ME, spec.parse(ECHO + body, file="job.yaml"))
    plant.settle()
    return plant


APP = app_over(a_plant(), Path(tempfile.mkdtemp(prefix="zkt-openapi-")))
SCHEMA = schemathesis.openapi.from_asgi("/v1/openapi.json", APP)
OPERATIONS: list[Any] = [
    operation
    for found in SCHEMA.get_all_operations()
    if (operation := cast(Any, found).ok()).path not in ENDLESS
]


def send(case: Any) -> None:
    query = dict(case.query) if isinstance(case.query, dict) else {}
    query.pop("follow", None)
    case.query = query
    answer = case.call()
    assert answer.status_code < 500, (answer.status_code, answer.text)
    if answer.status_code >= 400:
        error = json.loads(answer.text)["error"]
        assert error["code"]
        assert error["message"]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda o: f"{o.method} {o.path}")
def test_no_request_finds_a_defect(operation):
    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy())
    def run(case: Any) -> None:
        send(case)

    run()


@pytest.mark.parametrize(
    "operation",
    [o for o in OPERATIONS if "{job}" in o.path],
    ids=lambda o: f"{o.method} {o.path}",
)
def test_no_request_about_a_job_that_exists_finds_a_defect(operation):
    @settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(), job=st.sampled_from(["1", "2", "2.1", "3", "-"]))
    def run(case: Any, job: str) -> None:
        case.path_parameters = {**(case.path_parameters or {}), "job": job}
        send(case)

    run()


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(body=st.binary(max_size=300) | st.text(max_size=200).map(str.encode), flags=st.booleans())
def test_no_body_of_a_submit_finds_a_defect(body: bytes, flags: bool) -> None:
    kind = "application/json" if flags else "application/yaml"

    async def post() -> httpx.Response:
        transport = httpx.ASGITransport(app=APP)
        async with httpx.AsyncClient(transport=transport, base_url="http://zenkei") as client:
            return await client.post("/v1/jobs", content=body, headers={"content-type": kind})

    answer = asyncio.run(post())
    assert answer.status_code < 500, answer.text
