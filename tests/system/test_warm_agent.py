"""The warm agent is only a speed-up: whatever becomes of it, what it was told to start starts."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.testbeds.local_place import LocalPlace, is_alive, until
from zenkei.model.job import CheckpointPolicy, StopReason
from zenkei.ports.engine import Checkpointed, Released, Started


@pytest.fixture
def place(short_tmp: Path):
    with LocalPlace(short_tmp / "home") as opened:
        assert opened.run(1, "true").reason is StopReason.COMPLETED
        yield opened


def test_an_agent_that_is_killed_before_it_reads_an_order_costs_a_moment_not_the_job(place):
    agent = place.engine.agent_pid
    os.kill(agent, signal.SIGSTOP)
    attempt = place.launch(2, "true")
    os.kill(agent, signal.SIGKILL)
    place.wait(attempt, Released)
    assert place.exited(attempt).reason is StopReason.COMPLETED


def test_others_that_report_without_end_do_not_hide_that_one_has_no_supervisor(place):
    chatty = """
import json, os, time
for step in range(1, 1000):
    with open(os.environ["ZENKEI_CHECKPOINT_MARKER"], "a") as file:
        file.write(json.dumps({"saved": step}) + chr(10))
    time.sleep(0.5)
"""
    place.wait(
        place.launch(2, ("python", "-c", chatty), checkpoint=CheckpointPolicy()), Checkpointed
    )
    agent = place.engine.agent_pid
    os.kill(agent, signal.SIGSTOP)
    attempt = place.launch(3, "true")
    os.kill(agent, signal.SIGKILL)
    place.wait(attempt, Released)
    assert place.exited(attempt).reason is StopReason.COMPLETED


def test_an_agent_that_is_stopped_for_good_is_replaced_and_what_runs_below_it_goes_on(place):
    running = place.launch(2, "until [ -e go ]; do sleep 0.05; done")
    place.wait(running, Started)
    agent = place.engine.agent_pid
    os.kill(agent, signal.SIGSTOP)
    attempt = place.launch(3, "true")
    place.wait(attempt, Released)
    assert place.exited(attempt).reason is StopReason.COMPLETED
    until(lambda: not is_alive(agent), "the end of the first agent")
    (place.node_dir(running) / "work" / "go").touch()
    place.wait(running, Released)
    assert place.exited(running).reason is StopReason.COMPLETED
