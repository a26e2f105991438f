"""Sources, journal, clock, workers, nodes: the small parts of a daemon."""

import contextlib
import json
import logging
import os
import threading

import pytest

from tests.builders import node
from tests.plant import ALICE, ROOT, Plant, never_ends
from tests.plant import node as inline_node
from zenkei.model.cluster import NodeEventKind, NodeState
from zenkei.model.errors import Conflict, InvalidInput
from zenkei.model.job import JobSpec, ResourceRequest
from zenkei.model.resources import Request
from zenkei.server import journal
from zenkei.server.nodes import enter_nodes
from zenkei.server.progress import LINES, ProgressBoard
from zenkei.server.sources import reader, source_folder
from zenkei.server.system import SystemClock, ThreadWorkers


# -- sources ---------------------------------------------------------------------------------------
def test_a_file_beside_the_job_file_is_read(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "req.txt").write_text("numpy")
    assert reader(str(tmp_path))("sub/req.txt") == b"numpy"
    assert reader(str(tmp_path))("sub/../sub/req.txt") == b"numpy"


@pytest.mark.parametrize("path", ["../secret", "/etc/hostname", "sub/../../secret", "out", "loop"])
def test_nothing_outside_of_the_tree_is_read(tmp_path, path):
    tree = tmp_path / "tree"
    tree.mkdir()
    (tmp_path / "secret").write_text("x")
    (tree / "out").symlink_to("../secret")
    (tree / "loop").symlink_to("loop")
    with pytest.raises(OSError, match=r"."):
        reader(str(tree))(path)


def test_a_neighbour_with_the_same_beginning_is_outside(tmp_path):
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree-2").mkdir()
    (tmp_path / "tree-2" / "x").write_text("x")
    with pytest.raises(OSError, match=r"."):
        reader(str(tmp_path / "tree"))("../tree-2/x")


def test_a_pipe_or_a_huge_file_blocks_nobody(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with open(tmp_path / "huge", "wb") as file:
        file.truncate(1 << 30)
    for name in ("pipe", "huge", "."):
        with pytest.raises(OSError, match=r"."):
            reader(str(tmp_path))(name)


@pytest.mark.parametrize("text", ["relative", "/does/not/exist", "/etc/hostname", "/a\0b"])
def test_a_working_tree_is_an_absolute_directory(text):
    with pytest.raises(InvalidInput):
        source_folder(text)


# -- journal ---------------------------------------------------------------------------------------
def test_every_line_of_the_log_is_one_json_object(tmp_path):
    before = logging.getLogger().handlers[:], logging.getLogger().level
    try:
        journal.install(tmp_path / "log", "info")
        logging.getLogger("room").info("hostile\n{%s}\x1b[31m", "日本")
        try:
            raise ValueError("inner")
        except ValueError:
            logging.getLogger("room").exception("failed")
        lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    finally:
        for handler in logging.getLogger().handlers:
            handler.close()
        logging.getLogger().handlers[:], _ = before
        logging.getLogger().setLevel(before[1])
        logging.captureWarnings(capture=False)
    assert lines[0]["text"] == "hostile\n{日本}\x1b[31m"
    assert lines[0]["at"].endswith("Z")
    assert "ValueError: inner" in lines[1]["trace"]


def test_a_log_without_room_says_so_when_there_is_room_again_and_nothing_meanwhile(tmp_path, capfd):
    log = journal.LogFile(tmp_path / "log")
    log.setFormatter(journal.JsonLines())
    record = logging.makeLogRecord({"msg": "text"})
    file, log.stream = log.stream, open("/dev/full", "w", encoding="utf-8")  # noqa: SIM115
    for _ in range(3):
        log.emit(record)
    with contextlib.suppress(OSError):
        log.stream.close()
    log.stream = file
    log.emit(record)
    log.emit(record)
    log.close()
    texts = [json.loads(line)["text"] for line in (tmp_path / "log").read_text().splitlines()]
    assert texts == ["text", "the log had no room lines_lost<=3", "text"]
    assert capfd.readouterr().err == ""


# -- clock and workers -----------------------------------------------------------------------------
def test_appointments_come_in_their_order_and_a_failing_one_ends_nothing():
    clock, done = SystemClock(), threading.Event()
    heard: list[str] = []
    now = clock.now_us()

    def fail() -> None:
        raise RuntimeError("an appointment that fails")

    def finish() -> None:
        heard.append("late")
        done.set()

    clock.call_at(now + 60_000, finish)
    clock.call_at(now + 20_000, lambda: heard.append("early"))
    clock.call_at(now + 30_000, fail)
    assert done.wait(10)
    assert heard == ["early", "late"]


def test_a_lane_never_waits_for_another():
    workers, blocked, done = ThreadWorkers(), threading.Event(), threading.Event()

    def wait() -> None:
        blocked.wait(10)

    workers.submit("engine", wait)
    workers.submit("seal", done.set)
    assert done.wait(10)
    blocked.set()


def test_work_that_fails_does_not_end_its_lane():
    workers, done = ThreadWorkers(), threading.Event()

    def fail() -> None:
        raise RuntimeError("work that fails")

    workers.submit("engine", fail)
    workers.submit("engine", done.set)
    assert done.wait(10)


# -- progress --------------------------------------------------------------------------------------
def test_a_follower_gets_each_line_once_and_the_board_is_bounded():
    board, woken = ProgressBoard(), []
    end = board.subscribe(lambda: woken.append(1))
    for i in range(LINES + 10):
        board.say(7, f"line {i}")
    lines, position = board.after(7, 0)
    assert lines == [f"line {i}" for i in range(10, LINES + 10)]
    assert board.after(7, position) == ([], position)
    assert len(woken) == LINES + 10
    end()
    board.say(7, "unheard")
    assert len(woken) == LINES + 10
    assert board.after(8, 0) == ([], 0)


# -- nodes -----------------------------------------------------------------------------------------
def held_plant() -> Plant:
    """A plant whose node-1 is held by a job with two of its four GPUs."""
    plant = Plant(inline_node(gpus=4), inline_node("node-2"), program=never_ends)
    request = Request(gpu_count=2, gpu_milli=1000)
    spec = JobSpec(name="j", command="x", resources=ResourceRequest(node=request))
    plant.run(spec, ALICE)
    return plant


def test_nodes_come_and_go_while_nothing_is_held():
    plant = Plant(inline_node(), inline_node("node-2"))
    enter_nodes(plant.store, "inline", (inline_node("node-2"), inline_node("n3")), is_start=False)
    assert sorted(n.name for n in plant.store.nodes()) == ["n3", "node-2"]


def test_nodes_of_another_cluster_are_left_alone():
    plant = Plant(inline_node())
    enter_nodes(plant.store, "local", (node("x"),), is_start=False)
    assert sorted(n.name for n in plant.store.nodes()) == ["node-1", "x"]


@pytest.mark.parametrize(
    "wanted", [(), (inline_node(gpus=1),), (inline_node(gpus=0),), (inline_node("node-2"),)]
)
def test_what_a_job_holds_does_not_vanish(wanted):
    plant = held_plant()
    before = plant.store.nodes()
    with pytest.raises(Conflict, match="job 1 holds"):
        enter_nodes(plant.store, "inline", wanted, is_start=False)
    assert plant.store.nodes() == before, "nothing changed, the free node included"


def test_a_held_node_may_grow_and_free_ones_go():
    plant = held_plant()
    enter_nodes(plant.store, "inline", (inline_node(gpus=8),), is_start=False)
    (left,) = plant.store.nodes()
    assert len(left.capacity.devices) == 8


def test_at_a_start_a_held_node_stays_and_a_free_one_goes():
    plant = held_plant()
    enter_nodes(plant.store, "inline", (), is_start=True)
    assert [n.name for n in plant.store.nodes()] == ["node-1"]


def test_nodes_that_are_declared_anew_keep_an_operators_word_and_the_log_tells_who_left():
    plant = Plant(inline_node(), inline_node("node-2"))
    plant.nodes.drain(ROOT, "node-1", reason="new disk")
    enter_nodes(plant.store, "inline", (inline_node(cpus=8),), is_start=False)
    (left,) = plant.store.nodes()
    assert (left.state, left.capacity.cpu_milli) == (NodeState.DRAINED, 8000)
    kinds = [event.kind for event in plant.store.node_events("node-2")]
    assert kinds == [NodeEventKind.ENTERED, NodeEventKind.REMOVED]
