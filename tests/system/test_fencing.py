"""Supervisors that are frozen, attempts that are given up, and nodes that are clean again."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.testbeds.local_place import LocalPlace, is_alive, until
from tests.testbeds.unkillable import Freezer, a_freezer
from zenkei.engines.local import Limits, nodes, probing
from zenkei.engines.local.nodes import NodesConfig
from zenkei.engines.local.silence import Patience
from zenkei.model.data import CheckpointPart
from zenkei.model.errors import PermanentEngineError
from zenkei.model.ids import AttemptId
from zenkei.model.job import StopReason
from zenkei.ports.engine import Cleared, Exited, Released, Silent, Started
from zenkei.protocol import names, records

WRITES = "while true; do echo x >> outputs/beat; sleep 0.05; done"
SHORT = Limits(patience=Patience(silent_s=2.0, lost_s=6.0, gone_s=20.0))


@pytest.fixture
def place(short_tmp: Path) -> Iterator[LocalPlace]:
    with LocalPlace(short_tmp / "home") as opened:
        yield opened


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        if is_alive(pid):
            os.kill(pid, signal.SIGCONT)


def of_kind(place: LocalPlace, attempt: AttemptId, kind: type) -> list[Any]:
    return [r for r in place.reports(attempt) if isinstance(r, kind)]


def beats(place: LocalPlace, attempt: AttemptId) -> int:
    return (place.node_dir(attempt) / names.OUTPUTS_DIR / "beat").stat().st_size


def test_an_attempt_that_is_fenced_ends_at_once_and_what_it_says_later_is_refused(
    place: LocalPlace,
) -> None:
    attempt = place.launch(1, WRITES)
    place.wait(attempt, Started)
    with frozen(place.supervisor_pid(attempt)):
        place.engine.fence("node-1", attempt)
        place.wait(attempt, Released)
        ended = place.exited(attempt)
        assert (ended.reason, ended.exit.node) == (StopReason.NODE_LOST, "node-1")
        assert place.released(attempt).proof == "fenced"
        assert place.engine.outputs(attempt) == ()
        part = CheckpointPart(node_rank=0, path="step-1")
        with pytest.raises(PermanentEngineError, match="fenced"):
            place.engine.saved(attempt, 1, (part,))
        assert of_kind(place, attempt, Cleared) == [], "its ranks still live"
    # it wakes up, and reads that it was ordered to end
    until(lambda: of_kind(place, attempt, Cleared), "the confirmation")
    assert len(of_kind(place, attempt, Exited)) == len(of_kind(place, attempt, Released)) == 1
    before = beats(place, attempt)
    assert place.is_over(attempt)
    assert beats(place, attempt) == before


def test_a_fence_and_its_end_are_known_to_the_next_caller_until_they_are_lifted(
    place: LocalPlace,
) -> None:
    attempt = place.launch(1, "exec sleep 1000")
    place.wait(attempt, Started)
    pid = place.supervisor_pid(attempt)
    with frozen(pid):
        place.engine.fence("node-1", attempt)
        place.open()
        place.wait(attempt, Released)
        assert place.released(attempt).proof == "fenced"
        place.engine.retire(attempt)
        place.open()
    until(lambda: of_kind(place, attempt, Cleared), "the confirmation")
    place.engine.lift("node-1", attempt)
    place.open()
    assert of_kind(place, attempt, Cleared) == []


def test_a_gang_waits_for_its_other_nodes_when_one_is_fenced(place: LocalPlace) -> None:
    attempt = place.launch(1, "trap '' TERM; sleep 1000 & wait; wait", nodes=2)
    place.wait(attempt, Started)
    with frozen(place.supervisor_pid(attempt)):
        place.engine.fence("node-1", attempt)
        place.wait(attempt, Released)
        spool = place.node_dir(attempt, 1) / names.SPOOL_FILE
        assert records.read(str(spool))[-1]["kind"] == records.RELEASED
    until(lambda: of_kind(place, attempt, Cleared), "the confirmation")


def test_a_supervisor_that_is_frozen_is_ended_and_what_it_ran_is_proved_gone(
    short_tmp: Path,
) -> None:
    with LocalPlace(short_tmp / "home", limits=SHORT) as place:
        attempt = place.launch(1, WRITES)
        place.wait(attempt, Started)
        os.kill(place.supervisor_pid(attempt), signal.SIGSTOP)
        place.wait(attempt, Released)
        assert place.exited(attempt).reason is StopReason.NODE_LOST
        assert place.released(attempt).proof != "fenced"
        assert not any(report.lost for report in of_kind(place, attempt, Silent))
        assert place.is_over(attempt)


def test_a_supervisor_whose_machine_was_slow_for_a_while_goes_on(short_tmp: Path) -> None:
    with LocalPlace(short_tmp / "home", limits=SHORT) as place:
        attempt = place.launch(1, "until [ -e go ]; do sleep 0.05; done")
        place.wait(attempt, Started)
        with frozen(place.supervisor_pid(attempt)):
            until(lambda: of_kind(place, attempt, Silent), "a word about the silence")
        until(lambda: not of_kind(place, attempt, Silent), "that it is taken back")
        (place.node_dir(attempt) / "work" / "go").touch()
        place.wait(attempt, Released)
        assert place.exited(attempt).reason is StopReason.COMPLETED


def test_a_fence_against_what_is_gone_already_is_cleared_at_once(place: LocalPlace) -> None:
    attempt = place.launch(1, "true")
    place.wait(attempt, Released)
    place.engine.fence("node-1", attempt)
    assert of_kind(place, attempt, Cleared)
    assert place.exited(attempt).reason is StopReason.COMPLETED


@pytest.fixture
def freezer() -> Iterator[Freezer]:
    with a_freezer() as made:
        yield made


def test_processes_that_do_not_die_are_told_of_fenced_and_the_node_is_clear_when_they_are_gone(
    place: LocalPlace, freezer: Freezer
) -> None:
    attempt = place.launch(1, "echo $$; exec sleep 1000")
    pid = int(place.until_output(attempt, b"\n"))
    freezer.tasks.write_text(str(pid))
    freezer.freeze()
    place.stop(attempt, 0.0)
    (told,) = [r for r in place.wait(attempt, Silent) if isinstance(r, Silent)]
    assert told.lost
    assert f"killed and not gone: {pid} (sleep" in told.detail
    assert of_kind(place, attempt, Released) == [], "nobody can show that it is gone"
    place.engine.fence("node-1", attempt)
    place.wait(attempt, Released)
    assert is_alive(pid)
    assert of_kind(place, attempt, Cleared) == []
    freezer.thaw()
    until(lambda: of_kind(place, attempt, Cleared), "the confirmation")
    assert not is_alive(pid)


def test_a_check_that_hangs_in_the_kernel_is_given_up(freezer: Freezer, tmp_path: Path) -> None:
    freezes = f"echo $$ > {freezer.tasks}; echo FROZEN > {freezer.group}/freezer.state; sleep 1000"
    (node,) = nodes.declared(NodesConfig(nodes=1), "boot", tmp_path)
    found = probing.probe(node, ("/bin/sh", "-c", freezes), tmp_path, tmp_path, timeout_s=1.0)
    assert found == ("its checks did not end within 1 s",)
    assert freezer.tasks.read_text(), "it was killed, and lives on"
