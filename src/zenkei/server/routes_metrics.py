"""What a job's program has reported: latest values and series, by rank and name."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import Response

from zenkei.api import limits
from zenkei.model.access import Principal
from zenkei.model.ids import AttemptId
from zenkei.server.asking import JobText, Svc, Who, job_id
from zenkei.server.errors import Json
from zenkei.server.series import View, read_rank
from zenkei.server.services import Services, in_thread

router = APIRouter()


@router.get("/v1/jobs/{job}/metrics")
async def job_metrics(
    svc: Svc,
    who: Who,
    job: JobText,
    name: Annotated[str, Query(max_length=200)] = "",
    rank: Annotated[int | None, Query(ge=0, le=limits.RANK)] = None,
    attempt: Annotated[int, Query(ge=0, lt=10**6)] = 0,
    points: Annotated[int, Query(ge=0, le=limits.POINTS)] = 0,
) -> Response:
    """name, rank: only those. points: about so many of each series, 0 for none."""
    found = await job_id(svc, who, job)

    def read() -> dict[str, Any]:
        which = svc.queries.attempt(who, found, attempt)
        asked = svc.queries.spec(who, found).resources
        ranks = range(asked.nodes * asked.ranks) if rank is None else (rank,)
        series: list[View] = []
        for number in ranks:
            stream = _Stream(svc, who, which, number).read
            if points:
                kept = read_rank(number, stream, name=name, points=points)
                series += [one.view() for one in kept]
            else:
                series += svc.summaries.views(which, number, stream, name=name)
        return {"job": str(found), "attempt": str(which), "series": series}

    return Json(await in_thread(read))


class _Stream:
    """The metrics of one rank as a file."""

    def __init__(self, svc: Services, who: Principal, attempt: AttemptId, rank: int) -> None:
        self._svc, self._who, self._attempt = svc, who, attempt
        self._name = f"metrics/{rank}"

    def read(self, offset: int, limit: int) -> bytes:
        return self._svc.queries.read(self._who, self._attempt, self._name, offset, limit)
