"""The example of three teams on 32 nodes, run as a person runs it, and looked at afterwards.

What it did is read from the daemon's events, not from what the script says; only what `explain`
said at the time is taken from its output.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.system.cli_runs import Place, a_place

pytestmark = pytest.mark.timeout(300)
REPO = Path(__file__).resolve().parent.parent.parent
EXAMPLE = REPO / "examples" / "fairness"
QUEUES = yaml.safe_load((EXAMPLE / "cluster.yaml").read_text("utf-8"))["queues"]


@dataclass(frozen=True, kw_only=True)
class Story:
    """output: of the script. events: of all jobs, in the order of their commits. jobs: by id."""

    place: Place
    output: str
    events: list[Any]
    jobs: dict[str, Any]

    def named(self, name: str) -> list[str]:
        return [job for job, row in self.jobs.items() if row["name"] == name]

    def of(self, job: str, *kinds: str) -> list[Any]:
        return [e for e in self.events if e["job"] == job and e["kind"] in kinds]

    def first(self, job: str, kind: str) -> Any:
        return self.of(job, kind)[0]

    def held(self, queue: str, seq: int) -> int:
        """GPUs that jobs of a queue held after an event."""
        now: dict[str, int] = {}
        for event in self.events:
            if event["seq"] > seq or self.jobs[event["job"]]["queue"] != queue:
                continue
            if event["kind"] == "allocated":
                shares = [share for part in event["body"]["parts"] for share in part["devices"]]
                now[event["job"]] = sum(share["milli"] for share in shares) // 1000
            elif event["kind"] == "released":
                del now[event["job"]]
        return sum(now.values())

    def explained(self, job: str) -> str:
        """What `explain` said of a job when the script asked."""
        found = re.search(rf"^\$ zenkei explain {job}\n(.*?)\n\n", self.output, re.M | re.S)
        assert found is not None, f"nobody asked why job {job} waits"
        return found[1]


@pytest.fixture(scope="module")
def story() -> Iterator[Story]:
    with a_place() as place:
        done = subprocess.run(
            [sys.executable, str(EXAMPLE / "run.py")],
            cwd=place.work,
            env=place.environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        listed = place.ok("ps", "--all", "--members", "--json").json()["jobs"]
        jobs = {row["id"]: row for row in listed}
        events = [event for job in jobs for event in place.ok("events", "--json", job).lines()]
        events.sort(key=lambda event: event["seq"])
        yield Story(place=place, output=done.stdout, events=events, jobs=jobs)


def victims(story: Story) -> list[str]:
    stops = [e for e in story.events if e["kind"] == "stop_ordered"]
    return [e["job"] for e in stops if e["body"]["reason"] == "preempted"]


def test_a_team_borrows_until_the_owner_asks_for_its_quota(story: Story) -> None:
    (speech,) = story.named("speech")
    asked, got = story.first(speech, "submitted"), story.first(speech, "allocated")
    assert story.held("train", asked["seq"]) > QUEUES["vision"]["quota"]["gpus"]
    assert story.held("speech", asked["seq"]) == 0
    assert story.held("speech", got["seq"]) >= QUEUES["speech"]["quota"]["gpus"]
    assert story.held("train", got["seq"]) >= QUEUES["vision"]["quota"]["gpus"]


def test_those_who_give_way_are_told_for_whom_and_had_saved_last(story: Story) -> None:
    (speech,) = story.named("speech")
    assert len(victims(story)) == 2
    for job in victims(story):
        (stop,) = [e for e in story.of(job, "stop_ordered") if e["body"]["favoured"]]
        assert (stop["body"]["favoured"], stop["body"]["why"]) == (speech, "reclaim")
        assert story.first(job, "checkpoint_kept")["seq"] < stop["seq"], "its loss was least"
        assert f"make room for job {speech}" in story.output


def test_they_save_before_they_stop_and_go_on_from_there(story: Story) -> None:
    for job in victims(story):
        order = [e["kind"] for e in story.of(job, "stop_ordered", "checkpointed", "released")]
        stopped = order.index("stop_ordered")
        assert order[stopped : stopped + 3] == ["stop_ordered", "checkpointed", "released"]
        released = story.first(job, "released")
        step = [e for e in story.of(job, "checkpointed") if e["seq"] < released["seq"]][-1]["body"]
        assert released["body"]["next"] == "pending"
        assert story.first(job, "resumed")["body"]["step"] == step["step"]
        assert story.place.ok("show", "--json", job).json()["retries"] == 0


def test_short_jobs_come_and_go_before_the_gang_that_is_ahead_of_them(story: Story) -> None:
    (thesis,) = story.named("thesis")
    waited, began = story.first(thesis, "submitted"), story.first(thesis, "allocated")
    exercises = story.named("exercise")
    assert len(exercises) == 4
    for job in exercises:
        assert story.first(job, "submitted")["seq"] > waited["seq"]
        assert story.first(job, "released")["seq"] < began["seq"]


def test_the_gang_starts_no_later_than_promised(story: Story) -> None:
    (thesis,), (endless,) = story.named("thesis"), story.named("sleep")
    promise = re.search(
        rf"would delay job {thesis}, which starts by ([\d-]+ [\d:]+) UTC", story.explained(endless)
    )
    assert promise is not None, story.explained(endless)
    due = datetime.strptime(promise[1], "%Y-%m-%d %H:%M").replace(tzinfo=UTC)
    assert story.first(thesis, "allocated")["at_us"] / 1e6 < due.timestamp() + 60
    assert story.of(endless, "allocated") == []


def test_explain_names_what_binds_and_who_holds_it(story: Story) -> None:
    trainings = sorted(story.named("train"), key=int)
    (thesis,), (capped,) = story.named("thesis"), story.named("true")
    (speech,) = story.named("speech")
    asked = "asks for 32 GPUs, and queue `vision` with what it may borrow has 208 GPUs at most"
    assert asked in story.explained(trainings[6])
    assert f"held by jobs {speech} (queue speech)" in story.explained(victims(story)[0])
    assert "reserved for `power`" in story.explained(thesis)
    assert "(power test in rack r4)" in story.explained(thesis)
    assert "queue `students` may have 72 GPUs at most" in story.explained(capped)
    assert f"its limit is held by job {thesis} (queue students)" in story.explained(capped)


def test_nothing_that_it_started_waits_or_runs_any_more(story: Story) -> None:
    assert story.place.ok("ps", "--json").json()["jobs"] == []
