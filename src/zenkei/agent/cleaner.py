"""Finishes an attempt whose supervisor died: kills what is left, completes the records.

Called with the spool locked. What ended the ranks is not known, so it counts as a failure of the
infrastructure. After a reboot nothing is signalled: no process id of the old boot means anything.
Finds processes by control group and by the tree's mark in their environment; a process that had
neither was adopted and killed by the warm agent, if that still lived.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Collection

from zenkei.agent import heartbeat, notify, processes, remains, staging
from zenkei.agent.groups import NO_GROUP, Group
from zenkei.agent.stop import LEFT_S, described
from zenkei.protocol import launch, names, records

AGAIN_S = 0.02
ENVIRON = "environ-search"
REBOOT = "reboot"


def finish(
    document: launch.Launch,
    journal: records.Journal,
    group: Group,
    used: Collection[str] = (),
) -> None:
    """Returns when the tree is gone and the spool says so.

    used: shared memory that its processes had in use when they were found.
    """
    rebooted = document.boot_id not in ("", processes.boot_id())
    if rebooted:
        proof = REBOOT
    else:
        seen = remains.shared_by(_of_tree(document, group)) | set(used)
        kill_all(document, group, journal)
        remains.clear(document, seen, partial(_tell_left, document, journal), LEFT_S)
        proof = group.proof
        proof = ENVIRON if proof == NO_GROUP else f"{proof}+{ENVIRON}"
        group.remove()
    staging.remove_private(document)
    if not journal.last(records.EXITED):
        started = journal.last(records.STARTED) is not None
        lost = rebooted or started
        journal.append(
            records.EXITED,
            at_us=time.time_ns() // 1000,
            reason="node_lost" if lost else "launch_failed",
            code=None,
            signal=0,
            rank=-1,
            detail="the machine was started anew" if rebooted else "its supervisor died",
            # when is not known, but it is no consequence of what happened on other nodes
            cause_us=0,
        )
    journal.append(records.RELEASED, at_us=time.time_ns() // 1000, proof=proof)
    notify.wake(document)


def _of_tree(document: launch.Launch, group: Group) -> list[int]:
    mark = f"{names.TREE}={document.tree}".encode()
    return [*processes.marked(mark), *group.members()]


def kill_all(document: launch.Launch, group: Group, journal: records.Journal) -> None:
    """SIGKILL by control group and by mark until neither finds anybody."""
    mark = f"{names.TREE}={document.tree}".encode()
    tell_at = time.monotonic() + LEFT_S
    while True:
        heartbeat.touch()
        group.kill()
        left = processes.marked(mark)
        for pid in left:
            processes.kill_marked(pid, mark)
        members = group.members()
        if not left and not members:
            return
        if time.monotonic() >= tell_at:
            tell_at = float("inf")
            _tell_left(document, journal, described(sorted({*left, *members})))
        time.sleep(AGAIN_S)


def _tell_left(document: launch.Launch, journal: records.Journal, detail: str) -> None:
    journal.append(records.LEFT, at_us=time.time_ns() // 1000, sync=False, detail=detail)
    notify.wake(document)
