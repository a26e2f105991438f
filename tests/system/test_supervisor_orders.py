"""Launches and orders that cross, callers that die, machines that were started anew."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.testbeds.local_place import LocalPlace, is_alive, numbers, until
from zenkei.engines.local import NodesConfig
from zenkei.model.errors import PermanentEngineError
from zenkei.model.ids import AttemptId, JobId
from zenkei.model.job import StopReason
from zenkei.ports.engine import Exited, Released, RunAs, Started
from zenkei.protocol import names, records, wire

# a daemon of its own process: opens the place, launches, says so, waits to be killed
OTHER_DAEMON = """
import sys
from pathlib import Path
from tests.testbeds.local_place import LocalPlace
place = LocalPlace(Path(sys.argv[1]))
for number in range(1, 1 + int(sys.argv[2])):
    place.launch(number, sys.argv[3])
print("launched", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def place(short_tmp: Path):
    with LocalPlace(short_tmp / "home") as opened:
        yield opened


def other_daemon(home: Path, jobs: int, command: str) -> subprocess.Popen[str]:
    """Its jobs are launched when this returns."""
    process = subprocess.Popen(
        [sys.executable, "-c", OTHER_DAEMON, str(home), str(jobs), command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "launched\n"
    return process


def first_attempt(number: int) -> AttemptId:
    return AttemptId(JobId(number), 1)


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def test_no_report_is_lost_when_the_daemon_dies_while_jobs_run(place):
    command = "echo a; until [ -e ../../../../../go ]; do sleep 0.02; done; echo b"
    kill(other_daemon(place.home, 5, command))
    attempts = [first_attempt(number) for number in range(1, 6)]
    (place.home / "go").touch()
    for attempt in attempts:
        reports = place.wait(attempt, Released)
        assert [type(report) for report in reports] == [Started, Exited, Released]
        assert place.output(attempt) == b"a\nb\n"
        assert place.exited(attempt).reason is StopReason.COMPLETED


def test_what_ended_while_no_daemon_ran_is_reported(place):
    process = other_daemon(place.home, 3, "exit 6")
    kill(process)
    until(lambda: all(place.is_over(first_attempt(n)) for n in (1, 2, 3)), "ends")
    place.open()
    for number in (1, 2, 3):
        attempt = first_attempt(number)
        place.wait(attempt, Released)
        assert place.exited(attempt).exit.code == 6


def test_a_committed_launch_whose_supervisor_was_never_asked_for_is_started_later(
    place, monkeypatch
):
    engine = place.engine
    monkeypatch.setattr(engine._link, "supervise", lambda *_: None)
    attempt = place.launch(1, "echo late")
    assert place.reports(attempt) == []
    place.open()
    place.wait(attempt, Released)
    assert place.output(attempt) == b"late\n"


def test_an_attempt_is_started_once_however_many_ask(place):
    order = place.order(1, "echo once >> ../outputs/starts; sleep 0.3")
    threads = [threading.Thread(target=place.engine.launch, args=(order,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for _ in range(5):
        place.engine._link.supervise(place.node_dir(order.attempt), {})
    place.wait(order.attempt, Released)
    place.engine._link.supervise(place.node_dir(order.attempt), {})
    place.run(2, "true")
    starts = place.node_dir(order.attempt) / "outputs" / "starts"
    assert starts.read_text() == "once\n"
    spool = records.read(str(place.node_dir(order.attempt) / names.SPOOL_FILE))
    assert [record["kind"] for record in spool] == ["claimed", "started", "exited", "released"]


def test_a_stop_order_that_overtakes_the_start_is_obeyed(place):
    for number in range(1, 21):
        order = place.order(number, "sleep 1000")
        threads = [
            threading.Thread(target=place.engine.launch, args=(order,)),
            threading.Thread(target=place.stop, args=(order.attempt,)),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for number in range(1, 21):
        attempt = first_attempt(number)
        place.wait(attempt, Released)
        ended = place.exited(attempt)
        assert ended.reason in (StopReason.USER_CANCEL, StopReason.LAUNCH_FAILED)


def test_after_a_reboot_attempts_are_lost_and_nobody_is_signalled(place):
    attempt = place.launch(1, "echo $$; exec sleep 1000")
    [pid] = numbers(place.until_output(attempt, b"\n"))
    supervisor = place.supervisor_pid(attempt)
    copy = place.home.parent / "rebooted"
    shutil.copytree(place.home, copy, ignore=shutil.ignore_patterns("wake", "ctl"), symlinks=True)
    launch_file = copy / "attempts" / "1" / "1" / "node-0" / names.LAUNCH_FILE
    document = json.loads(launch_file.read_bytes())
    launch_file.write_text(json.dumps({**document, "boot_id": "of the boot before"}))
    with LocalPlace(copy) as after:
        after.wait(attempt, Released)
        assert after.exited(attempt).reason is StopReason.NODE_LOST
        assert after.released(attempt).proof == "reboot"
    assert is_alive(pid)
    assert is_alive(supervisor)


def test_another_uid_is_refused(place):
    order = place.order(1, "true")
    with pytest.raises(PermanentEngineError, match="own user"):
        place.engine.launch(type(order)(**{**_fields(order), "run_as": RunAs(uid=12345)}))


def _fields(order):
    return {name: getattr(order, name) for name in order.__dataclass_fields__}


def test_the_warm_agent_ends_with_its_last_supervisor(short_tmp):
    place = LocalPlace(short_tmp / "home")
    attempt = place.launch(1, "until [ -e go ]; do sleep 0.02; done")
    place.wait(attempt, Started)
    agent = place.engine.agent_pid
    place.engine.close()
    assert is_alive(agent)
    (place.node_dir(attempt) / "work" / "go").touch()
    until(lambda: not is_alive(agent), "the agent's end")


def test_a_place_with_a_long_path_works(short_tmp):
    home = short_tmp / ("long-" * 30) / "日本語 with spaces"
    home.mkdir(parents=True)
    with LocalPlace(home) as place:
        assert place.run(1, "echo $ZENKEI_OUTPUT_DIR; exit 2").exit.code == 2


def test_ranks_of_several_nodes_find_each_other(short_tmp):
    program = """
import os, socket, time
rank, address = int(os.environ["ZENKEI_RANK"]), os.environ["MASTER_ADDR"]
port = int(os.environ["MASTER_PORT"])
if rank == 0:
    server = socket.create_server((address, port))
    for _ in range(int(os.environ["ZENKEI_WORLD_SIZE"]) - 1):
        print(server.accept()[0].recv(9).decode())
else:
    for _ in range(1000):
        try:
            sock = socket.create_connection((address, port))
        except OSError:
            time.sleep(0.02)
            continue
        sock.sendall(b"from %s" % os.environ["RANK"].encode())
        break
"""
    with LocalPlace(short_tmp / "home", nodes=NodesConfig(nodes=2)) as place:
        ended = place.run(1, ("python", "-c", program), nodes=2, ranks=2)
        assert ended.reason is StopReason.COMPLETED, place.chunks(ended.attempt, 1)
        said = sorted(place.output(ended.attempt).decode().split("\n"))
        assert said == ["", "from 1", "from 2", "from 3"]


@pytest.mark.root
def test_the_environment_is_read_only_to_the_job(short_tmp):
    class Builder:
        def realise(self, lock, progress):
            return str(short_tmp / "env")

    (short_tmp / "env" / "bin").mkdir(parents=True)
    (short_tmp / "env" / "file").write_text("kept")
    with LocalPlace(short_tmp / "home") as place:
        place.artefacts = Builder()
        place.open()
        order = place.order(1, f"echo changed > {short_tmp}/env/file")
        place.engine.launch(type(order)(**{**_fields(order), "env": "b3:" + "0" * 64}))
        place.wait(order.attempt, Released)
        assert place.exited(order.attempt).exit.code != 0
    assert (short_tmp / "env" / "file").read_text() == "kept"


def test_clients_of_a_supervisor_may_vanish_at_any_instant(place):
    attempt = place.launch(1, "exec sleep 1000")
    place.wait(attempt, Started)
    chatty = wire.frame(wire.RUN, b"while :; do echo out; echo err >&2; done")
    for number in range(60):
        with wire.connect(str(place.node_dir(attempt)), names.CONTROL_SOCKET) as client:
            client.sendall(chatty + wire.frame(wire.INPUT, b"x" * 1000 * number))
            if number % 3:
                client.recv(100)
    with wire.connect(str(place.node_dir(attempt)), names.CONTROL_SOCKET) as client:
        client.sendall(b"\xff" * 1000)
        assert client.recv(1) == b""
    with wire.connect(str(place.node_dir(attempt)), names.CONTROL_SOCKET) as client:
        client.sendall(wire.frame(wire.AS, b"no number"))
        assert client.recv(1) == b""
    with wire.connect(str(place.node_dir(attempt)), names.CONTROL_SOCKET) as client:
        client.sendall(wire.frame(wire.RUN, b"cat; exit 7") + wire.frame(wire.INPUT, b"through"))
        client.sendall(wire.frame(wire.INPUT))
        assert wire.receive(client) == (wire.OUT, b"through")
        assert wire.receive(client) == (wire.EXIT, b"\0\0\0\7")
    place.stop(attempt)
    place.wait(attempt, Released)
    assert place.exited(attempt).reason is StopReason.USER_CANCEL


def test_a_supervisor_told_to_end_by_the_system_ends_its_job(place):
    attempt = place.launch(1, "exec sleep 1000", grace_s=0.3)
    place.wait(attempt, Started)
    os.kill(place.supervisor_pid(attempt), signal.SIGTERM)
    place.wait(attempt, Released)
    assert place.exited(attempt).reason is StopReason.NODE_LOST


def test_records_that_make_no_sense_do_not_keep_others_from_being_noticed(place, caplog):
    broken = place.launch(1, "echo up; exec sleep 60")
    place.until_output(broken, b"up")
    spool = str(place.node_dir(broken) / names.SPOOL_FILE)
    journal = records.Journal(spool, attempt=str(broken), node=0)
    journal.append(records.EXITED, at_us=1, nonsense=True)
    journal.close()
    assert place.run(2, "true").reason is StopReason.COMPLETED
    until(lambda: f"records of attempt {broken} cannot be read" in caplog.text, "the log's line")
    os.kill(place.supervisor_pid(broken), signal.SIGKILL)
    until(lambda: records.read(spool)[-1]["kind"] == records.RELEASED, "the end of its tree")
