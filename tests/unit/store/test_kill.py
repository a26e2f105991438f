"""SIGKILL of two writers in the middle of their load: what was acknowledged is there, and whole.

Several rounds on one database, two processes at a time: each goes on with what was left.
"""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.process_guard import RUN_DIR
from tests.testbeds.postgres import postgres
from zenkei.model.ids import JobId
from zenkei.store.sql import SqlStore

LIFE = """
import os, sys
from tests.builders import allocate, command_unit, exited, released, submit_unit
from zenkei.lifecycle import commands as c
from zenkei.store.sql import SqlStore

store = SqlStore(sys.argv[1])
STEPS = [
    lambda job: command_unit(job, c.Prepare()),
    lambda job: command_unit(job, allocate(), c.ReportStarted(attempt=1)),
    lambda job: command_unit(job, exited(), released()),
]

def acknowledge(row):
    os.write(1, f"{row.id} {row.version}\\n".encode())

def go_on(job, step):
    def done(future):
        acknowledge(future.result())
        if step + 1 < len(STEPS):
            go_on(job, step + 1)
        else:
            begin()
    store.submit(STEPS[step](job)).add_done_callback(done)

def begin():
    store.submit(submit_unit()).add_done_callback(lambda future: go_on(future.result()[0], 0))

for _ in range(40):
    begin()
sys.stdin.read()
"""


def begin(url, repo) -> Any:
    """A process that writes as fast as it can."""
    return subprocess.Popen(
        [sys.executable, "-c", LIFE, url],
        cwd=repo,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": f"{repo}/src:{repo}"},
    )


def kill(process, lines):
    """What it acknowledged (job, version): it is killed after about `lines` of that."""
    said = b""
    while said.count(b"\n") < lines:
        assert select.select([process.stdout], [], [], 60)[0], "the writer is stuck"
        chunk = os.read(process.stdout.fileno(), 65536)
        assert chunk, f"the writer ended by itself: {process.wait(10)}"
        said += chunk
    process.send_signal(signal.SIGKILL)
    said += process.stdout.read()
    assert process.wait(30) == -signal.SIGKILL
    process.stdin.close()
    process.stdout.close()
    whole = said[: said.rindex(b"\n")].decode().splitlines()
    return [(JobId.parse(line.split()[0]), int(line.split()[1])) for line in whole]


def rounds_of_life_and_death(url, repo):
    acknowledged: dict[JobId, int] = {}
    for lines in (1, 150, 400, 60):
        processes = [begin(url, repo), begin(url, repo)]
        for process in processes:
            for job, version in kill(process, lines):
                acknowledged[job] = max(version, acknowledged.get(job, 0))
        store = SqlStore(url)
        rows: Any = {job: store.job(job) for job in acknowledged}
        lost = [job for job, version in acknowledged.items() if rows[job].version < version]
        assert lost == []
        assert store.check() == []
        seqs = [event.seq for event in store.events(limit=10_000)]
        assert seqs == list(range(1, len(seqs) + 1))
        store.close()
    assert len(acknowledged) > 100


def test_a_killed_writer_loses_nothing_that_it_acknowledged(tmp_path, repo):
    rounds_of_life_and_death(f"sqlite:///{tmp_path}/db.sqlite3", repo)


@pytest.mark.postgres
def test_a_killed_writer_loses_nothing_on_postgresql(repo):

    with postgres(Path(os.environ[RUN_DIR])) as server:
        rounds_of_life_and_death(server.url(server.new_schema()), repo)
