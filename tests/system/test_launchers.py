"""Launchers with real processes: what ranks are told, who ended first, ports that are taken."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.system.frameworks import EXAMPLES, a_cluster, environment
from tests.testbeds.as_user import pytest_as_user
from tests.testbeds.hosts import Hosts
from tests.testbeds.local_place import LocalPlace, until
from zenkei.engines.local import NodesConfig, ports
from zenkei.engines.local.ports import Ports
from zenkei.model.data import Digest
from zenkei.model.errors import TemporaryEngineError
from zenkei.model.ids import AttemptId
from zenkei.model.job import EnvRequest, Launcher, StopReason
from zenkei.ports.engine import LaunchOrder, Released, Started
from zenkei.protocol import logs

TALK = """
import os, socket
me, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
place = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
if me == 0:
    with socket.socket() as server:
        server.bind(place)
        server.listen()
        peers = sorted(server.accept()[0].recv(100).decode() for _ in range(world - 1))
    print(*peers, flush=True)
else:
    while True:
        try:
            with socket.create_connection(place, 5) as sock:
                names = ("RANK", "LOCAL_RANK", "GROUP_RANK", "GLOO_SOCKET_IFNAME")
                sock.send(",".join(os.environ[name] for name in names).encode())
            break
        except ConnectionRefusedError:
            pass
"""
OWN_ENDS = """
import os, signal, sys, time
if sys.argv[1] == "fail" and os.environ["RANK"] == "1":
    print("the last words", file=sys.stderr, flush=True)
    os._exit(7)
def tidy(*_):
    print("tidied up", flush=True)
    os._exit(0)
signal.signal(signal.SIGTERM, tidy)
print("ready", flush=True)
time.sleep(1000)
"""


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    with Hosts(2) as opened:
        yield opened


@pytest.fixture
def place(short_tmp: Path, hosts: Hosts) -> Iterator[LocalPlace]:
    with LocalPlace(short_tmp / "home", nodes=hosts.nodes()) as opened:
        yield opened


def python(program: str, *arguments: str) -> tuple[str, ...]:
    return ("python", "-c", program, *arguments)


def first_port(place: LocalPlace, attempt: AttemptId) -> int:
    """What the engine will lease to it, if nobody else has it."""
    return Ports(place.home).lease(attempt, look=False)


# -- hosts -----------------------------------------------------------------------------------------


@pytest.mark.root
def test_a_host_that_is_cut_off_is_reached_by_nobody_until_it_is_healed(hosts: Hosts) -> None:
    ping = f"import socket; socket.create_connection(('{hosts.address(1)}', 5000), 0.5)"

    def reaches() -> str:
        argv = [*hosts.prefix(0), sys.executable, "-c", ping]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        return done.stderr.splitlines()[-1]

    assert reaches().startswith("ConnectionRefusedError")
    hosts.cut(1)
    assert not reaches().startswith("ConnectionRefusedError")
    hosts.heal(1)
    assert reaches().startswith("ConnectionRefusedError")


# -- ranks that zenkei starts ----------------------------------------------------------------------


@pytest.mark.root
def test_ranks_of_two_hosts_meet_at_the_leased_port_over_the_interface_between_them(
    place: LocalPlace,
) -> None:
    attempt = place.launch(1, python(TALK), nodes=2, ranks=2)
    place.wait(attempt, Released)
    assert place.exited(attempt).reason is StopReason.COMPLETED, place.chunks(attempt)
    assert place.output(attempt) == b"1,1,0,eth0 2,0,1,eth0 3,1,1,eth0\n"


def test_ranks_of_virtual_nodes_meet_over_the_loopback(short_tmp: Path) -> None:
    with LocalPlace(short_tmp / "home", nodes=NodesConfig(nodes=2)) as place:
        attempt = place.launch(1, python(TALK), nodes=2)
        place.wait(attempt, Released)
        assert place.output(attempt) == b"1,0,1,lo\n"


def test_what_the_job_sets_itself_is_left_as_it_is(short_tmp: Path) -> None:
    env = EnvRequest(vars={"GLOO_SOCKET_IFNAME": "ib0"})
    with LocalPlace(short_tmp / "home", nodes=NodesConfig(nodes=2)) as place:
        attempt = place.launch(1, "echo $GLOO_SOCKET_IFNAME $NCCL_SOCKET_IFNAME", nodes=2, env=env)
        place.wait(attempt, Released)
        assert place.output(attempt) == b"ib0 =lo\n"


def test_jax_ranks_without_gpus_find_their_own_address_under_their_host_name(
    short_tmp: Path,
) -> None:
    ask = "import socket; print(socket.gethostbyname(socket.gethostname()))"
    with LocalPlace(short_tmp / "home", nodes=NodesConfig(nodes=2)) as place:
        attempt = place.launch(1, python(ask), nodes=2, launcher=Launcher.JAX)
        place.wait(attempt, Released)
        assert place.output(attempt, 0) == b"127.0.1.1\n"
        assert place.output(attempt, 1) == b"127.0.1.2\n"


@pytest.mark.root
def test_a_port_that_a_stranger_has_on_the_node_fails_the_launch_and_the_next_has_another(
    place: LocalPlace, hosts: Hosts
) -> None:
    order = place.order(1, python(TALK), nodes=2)
    port = first_port(place, order.attempt)
    server = f"import socket; s = socket.create_server(('', {port})); print(flush=True); s.accept()"
    argv = [*hosts.prefix(0), sys.executable, "-c", server]
    again = replace(order, attempt=AttemptId(order.attempt.job, 2))
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as stranger:
        try:
            assert stranger.stdout is not None
            stranger.stdout.readline()
            for each in (order, again):
                place.engine.launch(each)
                place.wait(each.attempt, Released)
        finally:
            stranger.kill()
    ended = place.exited(order.attempt)
    assert ended.reason is StopReason.LAUNCH_FAILED
    assert ended.exit.detail == (
        f"port {port} of node-1, where the ranks would meet, is taken by"
        f" process {stranger.pid} ({Path(sys.executable).name[:15]})"
    )
    assert place.exited(again.attempt).reason is StopReason.COMPLETED


@pytest.mark.root
def test_a_job_whose_port_was_taken_runs_at_once_at_another_one(
    zenkei_home: Path, hosts: Hosts
) -> None:
    port = Ports(zenkei_home).lease(AttemptId.parse("1/1"), look=False)
    job = zenkei_home.parent / "job.yaml"
    job.write_text("command: echo port $MASTER_PORT\nresources: {nodes: 2}\ncode: false\n")
    server = f"import socket; s = socket.create_server(('', {port})); print(flush=True); s.accept()"
    argv = [*hosts.prefix(0), sys.executable, "-c", server]
    with (
        a_cluster(zenkei_home, hosts) as cluster,
        subprocess.Popen(argv, stdout=subprocess.PIPE) as stranger,
    ):
        try:
            assert stranger.stdout is not None
            stranger.stdout.readline()
            done = cluster.run(job)
        finally:
            stranger.kill()
        assert done.returncode == 0, done.stderr
        ends = [attempt["stop"] for attempt in cluster.show()["attempts"]]
    assert ends == ["launch_failed", "completed"]
    [said] = [line for line in done.stdout.splitlines() if line.startswith("[0]")]
    assert said.startswith("[0] port 2")
    assert said != f"[0] port {port}"


def test_an_attempt_has_its_port_alone_until_it_is_retired_also_after_a_restart(
    short_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as sock:
        sock.bind(("", 0))
        port = sock.getsockname()[1]
    monkeypatch.setattr(ports, "kernel_free", lambda _: range(port, port + 1))
    with LocalPlace(short_tmp / "home", nodes=NodesConfig(nodes=2)) as place:
        first = place.launch(1, "echo $MASTER_PORT; exec sleep 1000", nodes=2)
        assert place.until_output(first, b"\n") == f"{port}\n".encode()
        place.open()
        with pytest.raises(TemporaryEngineError, match="no port"):
            place.launch(2, "true", nodes=2)
        place.stop(first)
        place.wait(first, Released)
        place.engine.retire(first)
        second = place.launch(2, "echo $MASTER_PORT", nodes=2)
        place.wait(second, Released)
        assert place.output(second) == f"{port}\n".encode()


def test_rdma_that_a_node_only_claims_to_have_fails_before_the_ranks_start(short_tmp: Path) -> None:
    if os.path.exists("/dev/infiniband"):
        pytest.skip("this machine has RDMA devices")
    with LocalPlace(short_tmp / "home", nodes=NodesConfig(nodes=1)) as place:
        ended = place.run(1, "echo started", rdma=True)
        assert ended.reason is StopReason.HEALTH_CHECK
        assert ended.exit.detail.startswith("node-1 cannot give RDMA: no device /dev/infiniband")
        assert place.output(AttemptId.parse("1/1")) == b""


def test_mpi_programs_that_start_without_mpiexec_are_warned_of_in_the_log(short_tmp: Path) -> None:
    with LocalPlace(short_tmp / "home", nodes=NodesConfig(nodes=1)) as place:
        place.artefacts = environment(EXAMPLES / "mpi/python.yaml")
        place.open()
        alone = "from mpi4py import MPI; print(MPI.COMM_WORLD.size)"
        order = replace(place.order(1, python(alone), ranks=2), env=Digest("b3:" + "0" * 64))
        place.engine.launch(order)
        place.wait(order.attempt, Released)
        assert place.output(order.attempt) == b"1\n1\n"
        said = place.output(order.attempt, stream=logs.SYSTEM)
        assert b"`launcher: mpi` makes them one world" in said


@pytest.mark.root
def test_an_ordinary_user_s_ranks_find_each_other_too(repo: Path, short_tmp: Path) -> None:
    chosen = "virtual or sets_itself or restart or own_address"
    words = ["-k", chosen, "tests/system/test_launchers.py"]
    pytest_as_user(repo, short_tmp, words, least=4, timeout_s=100)


# -- ranks that torchrun starts --------------------------------------------------------------------


@pytest.fixture
def torch_order(short_tmp: Path) -> Iterator[tuple[LocalPlace, LaunchOrder]]:
    """One node whose two ranks are started by the real torchrun; the program needs no PyTorch."""
    with LocalPlace(short_tmp / "home", nodes=NodesConfig(nodes=1)) as place:
        place.artefacts = environment(EXAMPLES / "torch-ddp/job.yaml")
        place.open()
        order = place.order(1, "", ranks=2, launcher=Launcher.TORCHRUN, grace_s=10.0)
        yield place, replace(order, env=Digest("b3:" + "0" * 64))


@pytest.mark.timeout(300)
def test_torch_ranks_own_exit_code_is_the_cause_not_torchruns(
    torch_order: tuple[LocalPlace, LaunchOrder],
) -> None:
    place, order = torch_order
    order = replace(order, spec=replace(order.spec, command=python(OWN_ENDS, "fail")))
    place.engine.launch(order)
    place.wait(order.attempt, Released, 100)
    ended = place.exited(order.attempt)
    assert (ended.reason, ended.exit.code) == (StopReason.NONZERO_EXIT, 7), place.chunks(
        order.attempt
    )
    assert (ended.exit.rank, ended.exit.detail) == (1, "the last words")


@pytest.mark.timeout(300)
def test_torchrun_adds_no_traceback_of_its_own_to_the_last_ranks_failure(
    torch_order: tuple[LocalPlace, LaunchOrder],
) -> None:
    place, order = torch_order
    late = "import os, sys, time; me = int(os.environ['RANK']); time.sleep(me); sys.exit(7 * me)"
    order = replace(order, spec=replace(order.spec, command=python(late)))
    place.engine.launch(order)
    place.wait(order.attempt, Released, 100)
    ended = place.exited(order.attempt)
    assert (ended.exit.code, ended.exit.rank) == (7, 1)
    chunks = place.chunks(order.attempt)
    assert not [chunk for chunk in chunks if b"Traceback" in chunk.data]


@pytest.mark.timeout(300)
def test_torch_ranks_are_stopped_themselves_and_have_their_grace(
    torch_order: tuple[LocalPlace, LaunchOrder],
) -> None:
    place, order = torch_order
    order = replace(order, spec=replace(order.spec, command=python(OWN_ENDS, "wait")))
    place.engine.launch(order)
    place.wait(order.attempt, Started, 100)
    until(lambda: place.output(order.attempt).count(b"ready") == 2, "both ranks")
    place.stop(order.attempt, grace_s=30.0)
    place.wait(order.attempt, Released, 60)
    assert place.exited(order.attempt).reason is StopReason.USER_CANCEL
    assert place.output(order.attempt).count(b"tidied up") == 2
