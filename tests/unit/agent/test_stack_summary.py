"""What the stacks of a rank say: it is in a call that needs other ranks, or joins its threads."""

from __future__ import annotations

from typing import Any

import pytest

from zenkei.agent.stacks import is_collective, summary

TORCH = "/env/lib/python3.12/site-packages/torch/distributed/distributed_c10d.py"
OWN = "/work/train.py"
COLLECTIVE = [
    (OWN, "main", "world.allreduce(1.0)"),
    (OWN, "main", "comm.Recv(buffer, source=0)"),
    (OWN, "main", "self.comm.recv(source=0)"),
    (OWN, "main", "handles[0].wait()"),
    (OWN, "main", "MPI.COMM_WORLD.gather(x)"),
    (TORCH, "broadcast", "work.wait()"),
    (TORCH, "all_gather_into_tensor", ""),
]
OF_ITS_OWN = [
    (OWN, "main", "self.stop_requested.wait(3600)"),
    (OWN, "main", "child.wait()"),
    (OWN, "main", "functools.reduce(add, rows)"),
    (OWN, "main", "np.broadcast_to(row, shape)"),
    (OWN, "main", "axes.scatter(x, y)"),
    (OWN, "main", "await asyncio.gather(*downloads)"),
    (OWN, "main", "connection.recv()"),
    (OWN, "main", "network.send(batch)"),
    ("/usr/lib/python3.12/threading.py", "wait", "waiter.acquire()"),
    ("/usr/lib/python3.12/subprocess.py", "wait", "return self._wait(timeout=timeout)"),
]


def frame(file: str, function: str = "main", text: str = "") -> dict[str, Any]:
    return {"file": file, "line": 7, "function": function, "text": text}


def process(pid: int, *frames: dict[str, Any], state: str = "S", wait: str = "") -> dict[str, Any]:
    threads = [{"main": True, "frames": list(frames)}]
    waits = [{"tid": pid, "state": state, "wait": wait}]
    return {"rank": 0, "pid": pid, "state": state, "threads": threads, "waits": waits}


@pytest.mark.parametrize("where", COLLECTIVE, ids=lambda where: where[2] or where[1])
def test_a_call_that_needs_the_other_ranks_is_known(where):
    assert is_collective([frame(*where)])


@pytest.mark.parametrize("where", OF_ITS_OWN, ids=lambda where: where[2])
def test_a_call_with_such_a_name_that_needs_no_other_rank_is_none(where):
    assert not is_collective([frame(*where)])


JOINS = (frame("/usr/lib/python3.12/threading.py", "join"), frame(OWN))
IDLE = (frame("/usr/lib/python3.12/multiprocessing/resource_tracker.py"), frame("/x/worker.py"))


def test_a_helper_process_does_not_hide_what_the_program_waits_for():
    seen = summary({"processes": [process(1, *JOINS), process(2, *IDLE)]})[0]
    assert (seen.joins, seen.place) == (True, "train.py:7 in main")


def test_a_worker_that_computes_is_shown_in_place_of_the_program_that_waits_for_it():
    worker = process(2, frame("/x/worker.py"), state="R")
    assert summary({"processes": [process(1, *JOINS), worker]})[0].place == "worker.py:7 in main"


def test_who_waits_for_a_child_is_looked_through():
    starter = process(1, frame("/x/launch.py"), wait="waits for a child process")
    seen = summary({"processes": [starter, process(2, *JOINS)]})[0]
    assert (seen.joins, seen.place) == (True, "train.py:7 in main")
