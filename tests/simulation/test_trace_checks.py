"""The checkers of a trace's world: each planted breach is found, shrunk, written and run again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from zenkei.model import event as e
from zenkei.model.errors import InternalError, InvalidInput
from zenkei.model.ids import JobId
from zenkei.model.job import JobState
from zenkei.sim import running, scripts
from zenkei.sim.checkers import CheckFailed
from zenkei.sim.faults import PROFILES
from zenkei.sim.generating import Mix, generate
from zenkei.sim.replaying import Costs
from zenkei.sim.running import fails, play_or_tell, shrink
from zenkei.sim.tracechecks import Check
from zenkei.sim.traces import TraceJob, read_nodes
from zenkei.sim.traceworld import Setting, TraceWorld

JOBS = tuple(
    TraceJob(f"j{i}", "u", "q", "", i * 10**6, 10 * 10**6, gpu_count=1, gpu_milli=1000)
    for i in range(8)
)


def world(**more: object) -> TraceWorld:
    setting = replace(Setting(check=Check.EVERY), **more)  # type: ignore[arg-type]
    return TraceWorld(JOBS, read_nodes("1x4"), setting)


def lose_a_row(made: TraceWorld) -> None:
    del made.tables.jobs[JobId(3)]


def change_a_row(made: TraceWorld) -> None:
    made.tables.jobs[JobId(3)] = replace(made.tables.jobs[JobId(3)], priority=7)


def lose_an_event(made: TraceWorld) -> None:
    story = made.tables.job_events[JobId(3)]
    story[:] = [event for event in story if not isinstance(event.body, e.Started)]


def end_twice(made: TraceWorld) -> None:
    made.tables.events.append(made.tables.events[-1])


def forget_the_end(made: TraceWorld) -> None:
    row = made.tables.jobs[JobId(3)]
    made.tables.jobs[JobId(3)] = replace(row, state=JobState.RUNNING)


@pytest.mark.parametrize(
    ("breach", "says"),
    [
        (lose_a_row, "are lost"),
        (change_a_row, "replay of job 3"),
        (lose_an_event, "events of job 3 make no row"),
        (end_twice, "seq does not rise"),
        (forget_the_end, "its row is running"),
    ],
)
def test_what_is_wrong_at_the_end_is_found(breach: Callable[[TraceWorld], None], says: str) -> None:
    made = world()
    made.run()
    breach(made)
    with pytest.raises(CheckFailed, match=says):
        made.checks.at_the_end()


def test_a_device_that_is_given_twice_is_found_at_once() -> None:
    made = world()
    made.clock.call_in(3.5, lambda: give_twice(made))
    with pytest.raises(CheckFailed, match="exceed it") as failure:
        made.run()
    assert "at 4.0 s" in str(failure.value)


def give_twice(made: TraceWorld) -> None:
    """Two attempts hold the same device, in the store and in truth."""
    held = made.tables.allocations
    for second in list(held)[1:]:
        held[second] = replace(held[second], parts=next(iter(held.values())).parts)


def test_an_attempt_that_runs_on_what_it_does_not_hold_is_found() -> None:
    made = world()
    made.clock.call_in(3.5, made.tables.allocations.clear)
    with pytest.raises(CheckFailed, match="does not hold what it runs on"):
        made.run()


# -- a run that failed ---------------------------------------------------------------------------


def script(jobs: tuple[TraceJob, ...] = JOBS) -> scripts.Script:
    rates = PROFILES["harsh"]
    costs = Costs(start_s=1.0, restart_s=2.0, checkpoint_s=3.0)
    setting = Setting(seed=9, rates=rates, costs=costs, round_s=60.0, check=Check.EVERY)
    return scripts.Script(jobs=jobs, nodes=read_nodes("2xA100x4"), setting=setting)


def test_a_script_is_read_as_it_was_written() -> None:
    made = script(generate(20, 8, Mix(), seed=1))
    assert scripts.load(scripts.dump(made), "cluster.yaml") == made


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "nonsense", '{"simulation": 2}', '{"simulation": 1, "jobs": 3}', "[" * 99_999],
)
def test_what_is_no_script_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"x\.json"):
        scripts.load(text, "x.json")


def test_a_failure_that_two_jobs_make_is_shrunk_to_them() -> None:
    def fails_with_two(one: scripts.Script) -> str:
        names = {job.name for job in one.jobs}
        return "both are there" if {"j2", "j3"} <= names else ""

    small, why = shrink(script(), "at first", fails_with_two)
    assert [job.name for job in small.jobs] == ["j2", "j3"]
    assert why == "both are there"


def test_shrinking_ends_although_everything_fails() -> None:
    count = 0

    def always(one: scripts.Script) -> str:
        nonlocal count
        count += 1
        return "always"

    small, _ = shrink(script(JOBS * 10_000), "", always)
    assert count <= running.SHRINKS
    assert len(small.jobs) < 100


def test_a_run_that_fails_is_kept_and_fails_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def twice(self: TraceWorld) -> None:
        self.clock.call_in(3.5, lambda: give_twice(self))

    monkeypatch.setattr(TraceWorld, "_plan_trouble", twice)
    kept = tmp_path / "failed.json"
    calm = replace(script(), setting=Setting(check=Check.EVERY, seed=5))
    with pytest.raises(InternalError, match="seed 5") as failure:
        play_or_tell(calm, kept)
    assert str(kept) in failure.value.hint
    again = scripts.load(kept.read_text(), "failed.json")
    assert 1 < len(again.jobs) < len(JOBS)
    assert fails(again)
    assert fails(again) in str(failure.value)
