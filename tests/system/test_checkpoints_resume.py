"""Jobs that are preempted, killed, held, and go on where they were; all of it is real."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.system import training
from tests.system.faults_home import Home, a_home
from tests.testbeds.local_place import is_alive, until
from zenkei.client.failure import Failure


@pytest.fixture
def home():
    with a_home() as opened:
        opened.start()
        yield opened


def submit(home: Home, *, steps: int = 60, every: int = 1000, pause_s: float = 0.02, **keys: Any):
    program = training.write(home.folder)
    policy = keys.pop("checkpoint", {"signal": "none", "grace": "30s"})
    command = f"exec python {program} {steps} {every} {pause_s}"
    return home.submit(command, checkpoint=policy, **keys)


def is_past(home: Home, job: str, attempt: int) -> bool:
    return int(home.show(job)["attempt"]) > attempt


def checkpoints(home: Home, job: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = home.client.get(f"/v1/jobs/{job}/checkpoints")["checkpoints"]
    return found


def saved(home: Home, job: str) -> list[tuple[str, int]]:
    return [(c["attempt"], c["step"]) for c in checkpoints(home, job)]


def kept(home: Home, job: str) -> list[tuple[str, int]]:
    return [(c["attempt"], c["step"]) for c in checkpoints(home, job) if c["state"] == "kept"]


def log(home: Home, job: str, attempt: int) -> bytes:
    try:
        return home.log(job, attempt=attempt)
    except Failure:
        return b""


def until_step(home: Home, job: str, step: int, attempt: int = 1) -> None:
    until(
        lambda: any(s >= step for s, _ in training.losses(log(home, job, attempt))), f"step {step}"
    )


def preempt(home: Home, job: str, **body: Any) -> None:
    home.client.post(f"/v1/jobs/{job}/preempt", body)


def curve(home: Home, job: str) -> list[tuple[int, str]]:
    """Losses of all attempts, which join: each goes on after a step that the one before has kept.

    What a program did after its last checkpoint is done again, with the same outcome.
    """
    found: dict[int, str] = {}
    for attempt in home.show(job)["attempts"]:
        losses = training.losses(log(home, job, attempt["number"]))
        assert not losses or losses[0][0] <= len(found) + 1, f"a gap before {losses[0]}"
        for step, loss in losses:
            assert found.setdefault(step, loss) == loss, f"step {step} came out differently"
    return sorted(found.items())


def test_a_preempted_job_goes_on_where_it_was_with_the_same_losses(home):
    whole = submit(home, pause_s=0)
    job = submit(home)
    until_step(home, job, 10)
    preempt(home, job)
    assert home.until_over(job) == "succeeded"
    assert home.until_over(whole) == "succeeded"
    [(_, step)] = [one for one in saved(home, job) if one[0] == f"{job}/1"]
    assert training.losses(log(home, job, 2))[0][0] == step + 1
    assert curve(home, job) == curve(home, whole)
    assert [a["stop"] for a in home.show(job)["attempts"]] == ["preempted", "completed"]


def test_a_gang_on_two_nodes_is_preempted_twice_and_its_losses_stay_the_same(home):
    home.client.put("/v1/nodes", {"nodes": 2, "cpus_per_node": 4})
    gang: dict[str, Any] = {"resources": {"nodes": 2, "ranks": 2, "cpus": 1}}
    whole = submit(home, pause_s=0, **gang)
    assert home.until_over(whole) == "succeeded", home.show(whole)
    job = submit(home, pause_s=0.03, **gang)
    for attempt in (1, 2):
        until_step(home, job, 12 * attempt, attempt)
        preempt(home, job)
        home.until_state(job, "pending", "starting", "running")
        until(partial(is_past, home, job, attempt), "the next attempt")
    assert home.until_over(job) == "succeeded"
    assert curve(home, job) == curve(home, whole)
    assert len({c["step"] for c in checkpoints(home, job)}) == 2


def test_a_job_that_dies_goes_on_from_its_newest_checkpoint(home):
    job = submit(home, every=10, pause_s=0.05, retry={"limit": 1, "backoff": "0s"})
    until(lambda: kept(home, job), "a checkpoint")
    [pid] = training.pids(log(home, job, 1))
    os.kill(pid, signal.SIGKILL)
    until(lambda: training.losses(log(home, job, 2)), "its second attempt")
    newest = max(step for attempt, step in saved(home, job) if attempt == f"{job}/1")
    assert training.losses(log(home, job, 2))[0][0] == newest + 1
    assert home.until_over(job) == "succeeded"
    assert [step for step, _ in curve(home, job)] == list(range(1, 61))


def test_a_held_job_has_saved_and_goes_on_when_it_is_released(home):
    job = submit(home)
    until_step(home, job, 10)
    home.client.post(f"/v1/jobs/{job}/hold")
    home.until_state(job, "held")
    until(lambda: kept(home, job), "the checkpoint")
    home.client.post(f"/v1/jobs/{job}/release")
    assert home.until_over(job) == "succeeded"
    assert len(curve(home, job)) == 60


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(home):
    job = submit(home, every=10, steps=60, pause_s=0.06)
    until(lambda: len(kept(home, job)) > 1, "two checkpoints")
    home.client.post(f"/v1/jobs/{job}/hold")
    home.until_state(job, "held")
    until(lambda: not [c for c in checkpoints(home, job) if c["state"] == "saved"], "the last one")
    *_, before, newest = kept(home, job)
    tear(home, newest[1])
    home.client.post(f"/v1/jobs/{job}/release")
    assert home.until_over(job) == "succeeded"
    assert training.losses(log(home, job, 2))[0][0] == before[1] + 1
    [lost] = [c for c in checkpoints(home, job) if c["state"] == "lost"]
    assert (lost["step"], "damaged" in lost["reason"]) == (newest[1], True)
    assert len(curve(home, job)) == 60


def test_without_any_checkpoint_that_is_whole_it_begins_anew_and_says_so(home):
    job = submit(home, steps=40)
    until_step(home, job, 10)
    home.client.post(f"/v1/jobs/{job}/hold")
    home.until_state(job, "held")
    [(_, step)] = until(lambda: kept(home, job), "the checkpoint")
    tear(home, step)
    home.client.post(f"/v1/jobs/{job}/release")
    assert home.until_over(job) == "succeeded"
    assert training.losses(log(home, job, 2))[0][0] == 1
    events = home.client.get(f"/v1/jobs/{job}/events")["events"]
    [lost] = [e["body"] for e in events if e["kind"] == "checkpoint_lost"]
    assert (lost["step"], lost["left"]) == (step, -1)


def tear(home: Home, step: int) -> None:
    """Spoil the stored content of the checkpoint of a step, as a bad disk would."""
    wanted = f'{{"step": {step}, "weight": '.encode()
    torn = 0
    for path in home.path.glob("attempts/*/kept/*/**/*"):
        data = path.read_bytes() if path.is_file() else b""
        if wanted in data:
            path.chmod(0o600)
            path.write_bytes(data.replace(wanted, wanted.replace(b"step", b"torn")))
            torn += 1
    assert torn, f"nothing is stored of step {step}"


def test_no_more_are_kept_than_the_job_says_and_one_after_its_success(home):
    policy = {"signal": "none", "keep": 2}
    job = submit(home, every=10, steps=200, pause_s=0.01, checkpoint=policy)
    until(lambda: any(s >= 50 for _, s in kept(home, job)), "the fifth")
    assert len(kept(home, job)) <= 2
    folder = home.path / "attempts" / job / "1" / "node-0" / "checkpoints"
    until(lambda: not (folder / "step-10").exists(), "room on the node")
    assert home.until_over(job) == "succeeded"
    home.until_still()
    until(lambda: kept(home, job) == [(f"{job}/1", 200)], "the newest alone")
    [stored] = (home.path / "attempts").glob("*/kept")
    until(lambda: content_of(stored, 10) == 0 < content_of(stored, 200), "room in the store")
    registered = [c["parts"][0]["path"] for c in checkpoints(home, job)]
    until(lambda: not any((folder / path).exists() for path in registered), "room on the node")


def content_of(stored: Path, step: int) -> int:
    """Files of the store that hold the checkpoint of a step."""
    wanted = f'{{"step": {step}, "weight": '.encode()
    return sum(wanted in p.read_bytes() for p in stored.rglob("*") if p.is_file())


def test_a_running_job_that_is_asked_saves_and_goes_on(home):
    job = submit(home, steps=200)
    until_step(home, job, 10)
    assert home.client.post(f"/v1/jobs/{job}/checkpoints") == {"asked": [f"{job}/1"]}
    until(lambda: kept(home, job), "the checkpoint")
    assert home.until_over(job) == "succeeded"
    assert home.show(job)["attempt"] == 1


def test_what_cannot_be_asked_or_preempted_says_why(home):
    over = home.submit("true")
    assert home.until_over(over) == "succeeded"
    for path in ("preempt", "checkpoints"):
        with pytest.raises(Failure, match="there is nothing to"):
            home.client.post(f"/v1/jobs/{over}/{path}")
    deaf = home.submit("exec sleep 1000")
    home.until_state(deaf, "running")
    with pytest.raises(Failure, match="does not say that it can save"):
        home.client.post(f"/v1/jobs/{deaf}/checkpoints")
    preempt(home, deaf)
    until(lambda: home.show(deaf)["attempt"] == 2, "its second attempt")
    home.client.post(f"/v1/jobs/{deaf}/cancel", {"grace_s": 0})
    home.until_over(deaf)


STUBBORN = """
import json, os, time
os.chmod(os.environ["ZENKEI_CHECKPOINT_DIR"], 0o500)
with open(os.environ["ZENKEI_CHECKPOINT_MARKER"], "a") as file:
    file.write(json.dumps({"saved": 1, "path": "x"}) + chr(10))
time.sleep(1.5)
"""


def test_a_directory_that_cannot_be_written_costs_the_job_nothing(home):
    program = home.folder / "stubborn.py"
    program.write_text(STUBBORN)
    job = home.submit(f"python {program}", checkpoint=True)
    assert home.until_over(job) == "succeeded"
    assert checkpoints(home, job) == []
    events = home.client.get(f"/v1/jobs/{job}/events")["events"]
    [noticed] = [e["body"] for e in events if e["kind"] == "noticed"]
    assert "`x` cannot be found in the checkpoint directory" in noticed["detail"]


@pytest.mark.timeout(240)
def test_a_daemon_that_is_killed_while_jobs_save_and_move_loses_no_step(home):
    jobs = [submit(home, every=7, steps=80, pause_s=0.03) for _ in range(3)]
    for number in range(12):
        job = jobs[number % len(jobs)]
        with_luck(lambda job=job: preempt(home, job))
        patience_s = 0.2 * (number % 4)
        with_luck(lambda job=job, s=patience_s: until(lambda: kept(home, job), "one kept", s))
        home.newest.kill()
        home.start()
    for job in jobs:
        assert home.until_over(job) == "succeeded", home.show(job)
        assert [step for step, _ in curve(home, job)] == list(range(1, 81))
    home.until_still()
    home.end_checks()


def with_luck(call: Any) -> None:
    """The job may be between two attempts, or have ended."""
    try:
        call()
    except (Failure, AssertionError):
        pass


def test_when_it_was_preempted_nothing_of_it_is_left_on_the_machine(home):
    job = submit(home, steps=400)
    until_step(home, job, 10)
    [pid] = training.pids(log(home, job, 1))
    preempt(home, job)
    home.until_state(job, "pending", "starting", "running")
    assert not is_alive(pid)
    home.client.post(f"/v1/jobs/{job}/cancel", {"grace_s": 0})
    home.until_over(job)
    home.until_still()
    assert not list(Path(home.path / "attempts" / job).glob("resume-*"))
