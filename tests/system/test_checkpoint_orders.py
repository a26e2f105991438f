"""Real ranks that are asked for checkpoints, stopped after one, and lie about them."""

from __future__ import annotations

import os
import textwrap
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.testbeds.local_place import LocalPlace, is_alive, numbers, until
from zenkei.engines.local import NodesConfig
from zenkei.model.data import Digest
from zenkei.model.errors import PermanentEngineError
from zenkei.model.ids import AttemptId
from zenkei.model.job import CheckpointPolicy, CheckpointRanks, Notice, StopReason
from zenkei.ports.engine import (
    AskCheckpoint,
    Checkpointed,
    Exited,
    Noticed,
    Released,
    Resumed,
    ResumePoint,
    Started,
    StopAttempt,
)
from zenkei.protocol import logs

# what every program below begins with: no SDK, as a program in any language could do it
BEGIN = """
import json, os, signal, sys, time
V = os.environ
rank = int(V["ZENKEI_RANK"])
def say(**fields):
    with open(V["ZENKEI_CHECKPOINT_MARKER"], "a") as file:
        file.write(json.dumps(fields) + "\\n")
def save(step, path=None):
    path = path or f"step-{step}-rank-{rank}"
    with open(os.path.join(V["ZENKEI_CHECKPOINT_DIR"], path), "w") as file:
        file.write(str(step))
    say(saved=step, path=path)
def asked():
    return os.path.exists(V["ZENKEI_CHECKPOINT_ASK"])
def wait_for_ask():
    while not asked():
        time.sleep(0.005)
print("up", os.getpid(), flush=True)
"""


@pytest.fixture
def place(short_tmp: Path):
    with LocalPlace(short_tmp / "home") as opened:
        yield opened


def launch(place: LocalPlace, program: str, number: int = 1, **options: Any):
    policy = options.pop("checkpoint", CheckpointPolicy(signal=""))
    text = BEGIN + textwrap.dedent(program)
    options = {"grace_s": 0.5, **options}
    return place.launch(number, ("python", "-c", text), checkpoint=policy, **options)


def up(place: LocalPlace, attempt, ranks: int = 1, nodes: int = 1) -> list[int]:
    """Process ids of the ranks, once all of them run."""

    def pids() -> list[int]:
        lines = b"".join(place.output(attempt, node) for node in range(nodes)).split(b"\n")
        return [n for line in lines if line.startswith(b"up ") for n in numbers(line)]

    found: list[int] = until(lambda: pids() if len(pids()) == ranks else None, "all ranks")
    return found


def preempt(place: LocalPlace, attempt, checkpoint_s: float = 20.0, grace_s: float = 5.0) -> None:
    order = StopAttempt(reason=StopReason.PREEMPTED, grace_s=grace_s, checkpoint_s=checkpoint_s)
    place.engine.tell(attempt, order)


def ended(place: LocalPlace, attempt) -> StopReason:
    place.wait(attempt, Released)
    return place.exited(attempt).reason


def steps(place: LocalPlace, attempt) -> list[int]:
    return [r.step for r in place.reports(attempt) if isinstance(r, Checkpointed)]


def details(place: LocalPlace, attempt) -> str:
    found = [r for r in place.reports(attempt) if isinstance(r, Noticed)]
    assert all(notice.notice is Notice.CHECKPOINT for notice in found)
    return "\n".join(notice.detail for notice in found)


SAVE_WHEN_ASKED = """
step = 0
while True:
    step += 1
    time.sleep(0.005)
    if asked():
        save(step)
        while asked(): time.sleep(0.005)
"""


def test_a_stop_with_time_for_a_checkpoint_stops_when_it_is_saved(place):
    attempt = launch(place, SAVE_WHEN_ASKED)
    [pid] = up(place, attempt)
    preempt(place, attempt)
    assert ended(place, attempt) is StopReason.PREEMPTED
    [step] = steps(place, attempt)
    kinds = [type(report) for report in place.reports(attempt)]
    assert kinds == [Started, Checkpointed, Exited, Released]
    saved = place.node_dir(attempt) / "checkpoints" / f"step-{step}-rank-0"
    assert saved.read_text() == str(step)
    assert not is_alive(pid)


def test_a_program_that_saves_on_its_signal_is_asked_by_it_through_the_shell(place):
    program = BEGIN + textwrap.dedent("""
        def on_signal(*_): save(7); sys.exit(0)
        signal.signal(signal.SIGUSR1, on_signal)
        print("ready", flush=True)
        while True: time.sleep(60)
        """)
    (place.home.parent / "program.py").write_text(program)
    command = f"python {place.home.parent}/program.py; true"
    policy = CheckpointPolicy(signal="USR1")
    attempt = place.launch(1, command, checkpoint=policy)
    place.until_output(attempt, b"ready")
    preempt(place, attempt)
    assert ended(place, attempt) is StopReason.PREEMPTED
    assert steps(place, attempt) == [7]


def test_what_does_not_handle_the_signal_does_not_die_of_it(place):
    attempt = launch(
        place,
        """
        child = os.fork()
        if child == 0:  # like the worker of a data loader
            signal.signal(signal.SIGTERM, lambda *_: os._exit(9))
            while True: time.sleep(60)
        print("ready", flush=True)
        wait_for_ask()
        time.sleep(0.3)
        save(3 if os.waitpid(child, os.WNOHANG) == (0, 0) else 4)
        time.sleep(60)
        """,
        checkpoint=CheckpointPolicy(signal="TERM"),
    )
    place.until_output(attempt, b"ready")
    preempt(place, attempt, grace_s=0.2)
    assert ended(place, attempt) is StopReason.PREEMPTED
    assert steps(place, attempt) == [3]


def test_without_an_answer_it_is_stopped_when_the_time_is_over(place):
    attempt = launch(place, "time.sleep(1000)")
    up(place, attempt)
    preempt(place, attempt, checkpoint_s=0.3)
    assert ended(place, attempt) is StopReason.PREEMPTED
    assert steps(place, attempt) == []
    assert "the time for it is over" in details(place, attempt)


@pytest.mark.parametrize("code", [0, 1])
def test_a_program_that_ends_after_it_was_asked_has_not_completed(place, code):
    attempt = launch(place, f"wait_for_ask(); save(5); sys.exit({code})")
    up(place, attempt)
    preempt(place, attempt)
    assert ended(place, attempt) is StopReason.PREEMPTED
    assert steps(place, attempt) == [5]


def test_nor_has_one_that_ends_without_a_word(place):
    attempt = launch(place, "wait_for_ask(); sys.exit(0)")
    up(place, attempt)
    preempt(place, attempt)
    assert ended(place, attempt) is StopReason.PREEMPTED


def test_a_program_that_was_over_when_the_order_came_has_completed(place):
    attempt = launch(place, "pass")
    place.wait(attempt, Released)
    preempt(place, attempt)
    assert place.exited(attempt).reason is StopReason.COMPLETED


def test_when_a_rank_dies_while_saving_the_others_are_not_awaited(place):
    attempt = launch(
        place,
        """
        wait_for_ask()
        if rank == 0: sys.exit(3)
        time.sleep(1000)
        """,
        ranks=2,
    )
    up(place, attempt, ranks=2)
    preempt(place, attempt, checkpoint_s=1000.0)
    assert ended(place, attempt) is StopReason.PREEMPTED
    assert "a rank ended without saving one" in details(place, attempt)


def test_a_cancellation_does_not_wait_for_a_checkpoint_that_is_on_its_way(place):
    attempt = launch(place, "time.sleep(1000)")
    up(place, attempt)
    preempt(place, attempt, checkpoint_s=1000.0)
    place.stop(attempt)
    assert ended(place, attempt) is StopReason.PREEMPTED


def test_all_nodes_have_saved_before_one_of_them_is_stopped(short_tmp):
    program = """
        wait_for_ask()
        if rank == 1:
            time.sleep(0.5)
        save(9)
        time.sleep(1000)
        """
    with LocalPlace(short_tmp / "home", nodes=NodesConfig(nodes=2)) as place:
        attempt = launch(place, program, nodes=2)
        up(place, attempt, ranks=2, nodes=2)
        preempt(place, attempt, checkpoint_s=1000.0)
        assert ended(place, attempt) is StopReason.PREEMPTED
        [found] = [r for r in place.reports(attempt) if isinstance(r, Checkpointed)]
        assert [(p.node_rank, p.path) for p in found.parts] == [
            (0, "step-9-rank-0"),
            (1, "step-9-rank-1"),
        ]


def test_nodes_that_end_by_themselves_after_saving_leave_the_others_their_time(short_tmp):
    program = """
        wait_for_ask()
        if rank == 1:
            time.sleep(0.5)
        save(9)
        """
    with LocalPlace(short_tmp / "home", nodes=NodesConfig(nodes=2)) as place:
        attempt = launch(place, program, nodes=2)
        up(place, attempt, ranks=2, nodes=2)
        preempt(place, attempt)
        assert ended(place, attempt) is StopReason.PREEMPTED
        assert steps(place, attempt) == [9]


def test_nodes_that_answer_with_different_steps_have_no_checkpoint_and_are_told_so(short_tmp):
    program = "wait_for_ask(); save(10 + rank); time.sleep(1000)"
    with LocalPlace(short_tmp / "home", nodes=NodesConfig(nodes=2)) as place:
        attempt = launch(place, program, nodes=2)
        up(place, attempt, ranks=2, nodes=2)
        preempt(place, attempt, checkpoint_s=0.6)
        assert ended(place, attempt) is StopReason.PREEMPTED
        assert steps(place, attempt) == []
        assert "node-1 step 10, node-2 step 11" in details(place, attempt)


def test_ranks_of_a_node_that_save_different_steps_have_no_checkpoint_and_are_told_so(place):
    program = """
        save(10 + rank)
        save(20)
        time.sleep(1000)
        """
    attempt = launch(place, program, ranks=2)
    place.wait(attempt, Checkpointed)
    assert steps(place, attempt) == [20]
    place.wait(attempt, Noticed)
    assert "all ranks save the same step" in details(place, attempt)


def test_the_word_of_the_first_rank_is_enough_if_the_job_says_so(short_tmp):
    program = "wait_for_ask(); rank or save(4); time.sleep(1000)"
    policy = CheckpointPolicy(signal="", ranks=CheckpointRanks.FIRST)
    with LocalPlace(short_tmp / "home", nodes=NodesConfig(nodes=2)) as place:
        attempt = launch(place, program, nodes=2, ranks=2, checkpoint=policy)
        up(place, attempt, ranks=4, nodes=2)
        preempt(place, attempt, checkpoint_s=1000.0, grace_s=0.2)
        assert ended(place, attempt) is StopReason.PREEMPTED
        assert steps(place, attempt) == [4]


def has_saved(place: LocalPlace, attempt, times: int) -> bool:
    return len(steps(place, attempt)) == times


def test_a_job_that_is_only_asked_goes_on(place):
    attempt = launch(place, SAVE_WHEN_ASKED)
    [pid] = up(place, attempt)
    for number in (1, 2):
        place.engine.tell(attempt, AskCheckpoint(deadline_s=20.0))
        until(partial(has_saved, place, attempt, number), "the answer")
    assert is_alive(pid)
    ask = place.node_dir(attempt) / "ask"
    until(lambda: not ask.exists(), "the end of the question")


def test_an_attempt_that_is_not_there_cannot_be_asked(place):
    attempt = place.order(5, "true").attempt
    with pytest.raises(PermanentEngineError):
        place.engine.tell(attempt, AskCheckpoint(deadline_s=1.0))


HOSTILE = """
os.symlink("/etc", os.path.join(V["ZENKEI_CHECKPOINT_DIR"], "link"))
os.symlink(__import__("os").path.join(V["ZENKEI_CHECKPOINT_DIR"], "real"),
           os.path.join(V["ZENKEI_CHECKPOINT_DIR"], "alias"))
os.mkfifo(os.path.join(V["ZENKEI_CHECKPOINT_DIR"], "pipe"))
save(1, "real")
for step, path in enumerate(["/etc/passwd", "../launch.json", "link/passwd", "link", "alias",
                             "pipe", "absent", "a/../../x", ""], 2):
    say(saved=step, path=path)
with open(V["ZENKEI_CHECKPOINT_MARKER"], "a") as file:
    file.write("nonsense\\n[1]\\n" + "x" * 10000 + "\\n\\x00\\xff\\n")
say(saved=0, path="real")
save(50)
time.sleep(1000)
"""


def test_nonsense_and_hostile_paths_in_a_marker_change_nothing_and_are_told(place):
    attempt = launch(place, HOSTILE)
    until(lambda: 50 in steps(place, attempt), "what was said last")
    assert steps(place, attempt) == [1, 10, 50]
    said = details(place, attempt)
    for words in ("leads through a link", "neither a file", "cannot be found", "is no JSON",
                  "step 0 is said to be saved after step 10", "no path inside"):  # fmt: skip
        assert words in said
    assert "zenkei: checkpoint: rank 0" in place.output(attempt, stream=logs.SYSTEM).decode()


def test_a_marker_that_is_no_file_is_left_alone(place):
    program = """
        os.mkfifo(V["ZENKEI_CHECKPOINT_MARKER"])
        wait_for_ask(); time.sleep(0.1); sys.exit(0)
        """
    attempt = launch(place, program)
    up(place, attempt)
    preempt(place, attempt)
    assert ended(place, attempt) is StopReason.PREEMPTED
    assert steps(place, attempt) == []


def test_a_marker_that_is_written_anew_each_time_is_understood(place):
    program = """
        def overwrite(step):
            draft = V["ZENKEI_CHECKPOINT_MARKER"] + ".new"
            with open(draft, "w") as file: file.write(json.dumps({"saved": step}) + "\\n")
            os.replace(draft, V["ZENKEI_CHECKPOINT_MARKER"])
        for step in (5, 6, 700):
            overwrite(step)
            time.sleep(1.2)
        time.sleep(1000)
        """
    attempt = launch(place, program)
    until(lambda: steps(place, attempt) == [5, 6, 700], "three steps")
    assert details(place, attempt) == ""


def test_a_program_that_saves_all_the_time_is_reported_now_and_then(place):
    attempt = launch(place, "for step in range(2000): save(step, 'same')\ntime.sleep(1000)")
    until(lambda: 1999 in steps(place, attempt), "the last step")
    assert len(steps(place, attempt)) < 60


def test_what_was_changed_after_it_was_saved_is_no_checkpoint_of_that_step(place):
    attempt = launch(place, "save(1, 'same'); save(2, 'other'); time.sleep(1000)")
    place.wait(attempt, Checkpointed)
    until(lambda: len(steps(place, attempt)) == 2, "both")
    first, second = (r for r in place.reports(attempt) if isinstance(r, Checkpointed))
    folder = place.node_dir(attempt) / "checkpoints"
    [found] = place.engine.saved(attempt, 1, first.parts)
    assert found == str(folder / "same")
    # as if it had been written again; file systems' clocks lag by some milliseconds
    os.utime(folder / "same", (time.time() + 1.0,) * 2)
    with pytest.raises(PermanentEngineError, match="a path of its own"):
        place.engine.saved(attempt, 1, first.parts)
    place.engine.discard(attempt, 1, first.parts)
    place.engine.discard(attempt, 2, second.parts)
    assert sorted(path.name for path in folder.iterdir()) == ["same"]


def test_a_kill_of_the_supervisor_while_it_waits_ends_the_attempt_with_what_is_known(place):
    attempt = launch(place, "save(1); wait_for_ask(); print('asked', flush=True); time.sleep(1000)")
    place.wait(attempt, Checkpointed)
    preempt(place, attempt, checkpoint_s=1000.0)
    place.until_output(attempt, b"asked")
    os.kill(place.supervisor_pid(attempt), 9)
    assert ended(place, attempt) is not StopReason.COMPLETED
    assert steps(place, attempt) == [1]


def test_a_new_engine_finds_what_was_saved_and_stops_a_gang_that_waits_for_it(short_tmp):
    program = "wait_for_ask(); save(9); time.sleep(1000)"
    with LocalPlace(short_tmp / "home", nodes=NodesConfig(nodes=2)) as place:
        attempt = launch(place, program, nodes=2)
        up(place, attempt, ranks=2, nodes=2)
        preempt(place, attempt, checkpoint_s=1000.0, grace_s=0.2)
        place.open()
        assert ended(place, attempt) is StopReason.PREEMPTED
        assert steps(place, attempt) == [9]


def test_ranks_are_told_where_to_go_on_and_it_is_reported(place):
    class Trees:
        def checkout(self, tree, to):
            (to / "part").mkdir(parents=True)
            (to / "part" / "state").write_text("progress")

    place.artefacts = Trees()
    place.open()
    program = BEGIN + textwrap.dedent("""
        print(open(V["ZENKEI_RESUME_PATH"]).read(), V["ZENKEI_RESUME_STEP"])
        say(resumed=int(V["ZENKEI_RESUME_STEP"]))
        """)
    order = place.order(3, ("python", "-c", program), checkpoint=CheckpointPolicy())
    fields = {name: getattr(order, name) for name in order.__dataclass_fields__}
    point = ResumePoint(
        attempt=AttemptId.parse("3/1"),
        step=120,
        manifest=Digest("b3:" + "0" * 64),
        path="part/state",
    )
    fields |= {"attempt": AttemptId.parse("3/2"), "resume": point}
    place.engine.launch(type(order)(**fields))
    reports = place.wait(AttemptId.parse("3/2"), Released)
    assert Resumed(attempt=AttemptId.parse("3/2"), step=120) in reports
    assert b"progress 120" in place.output(AttemptId.parse("3/2"))
    assert (place.home / "attempts" / "3" / "resume-2").exists()
    place.engine.retire(AttemptId.parse("3/2"))
    assert not (place.home / "attempts" / "3" / "resume-2").exists()


def test_ranks_that_all_answered_with_different_steps_are_not_awaited_for_long(place):
    attempt = launch(place, "wait_for_ask(); save(10 + rank); time.sleep(1000)", ranks=2)
    up(place, attempt, ranks=2)
    preempt(place, attempt, checkpoint_s=1000.0, grace_s=0.2)
    assert ended(place, attempt) is StopReason.PREEMPTED
    assert steps(place, attempt) == []
    assert "the time for it is over" in details(place, attempt)
