"""The examples of docs/concepts/scheduling.md: `says` compares what was computed with the page."""

from __future__ import annotations

from functools import cache

from tests.cluster_life import HOUR, Life
from tests.docs.pages import REPO
from zenkei.model.ids import JobId
from zenkei.model.queue import ClusterConfig, Policy, Queue
from zenkei.scheduler import Plan, Reserve, Start, plan

PAGE = "docs/concepts/scheduling.md"


@cache
def page() -> str:
    """Lines of the page joined."""
    return " ".join((REPO / PAGE).read_text("utf-8").split())


def says(sentence: str) -> bool:
    """Whether the page has these very words; numbers in them are computed by the test."""
    assert sentence in page(), f"{PAGE} does not say: {sentence}"
    return True


def queue(name: str, parent: str = "", **rules: object) -> Queue:
    return Queue(name=name, parent=parent, **rules)  # type: ignore[arg-type]


def open_to_all(**rules: object) -> ClusterConfig:
    """No queues; rules: of the policy."""
    return ClusterConfig(policy=Policy(**rules))  # type: ignore[arg-type]


def planned(life: Life) -> Plan:
    return plan(life.snapshot(), now_us=life.now_us)


def obeyed(life: Life) -> Plan:
    made = planned(life)
    life.obey(made)
    return made


def started(made: Plan) -> list[JobId]:
    return [d.job for d in made.decisions if isinstance(d, Start)]


def nodes_of(made: Plan, job: JobId) -> list[str]:
    """Where a plan starts a job; empty: nowhere."""
    return [
        part.node
        for d in made.decisions
        if isinstance(d, Start) and d.job == job
        for part in d.parts
    ]


def promised(made: Plan, job: JobId) -> tuple[str, list[str]]:
    """When by the clock, and on which nodes."""
    (found,) = [d for d in made.decisions if isinstance(d, Reserve) and d.job == job]
    minutes = found.at_us * 60 // HOUR
    return f"{minutes // 60}:{minutes % 60:02}", [part.node for part in found.parts]


def code(made: Plan, job: JobId) -> str:
    """Why it waits."""
    reason = made.reason(job)
    assert reason is not None, f"job {job} does not wait"
    return str(reason.code)
