"""Which MPI an environment holds, and how it is told to start ranks through us."""

from __future__ import annotations

import pytest

from zenkei.agent import mpi
from zenkei.protocol import launch

OPEN_MPI = ("mpiexec", "prterun", "prted")
MPICH = ("mpiexec", "mpiexec.hydra", "hydra_pmi_proxy")


@pytest.fixture
def document(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def make(programs: tuple[str, ...], **fields) -> launch.Launch:
        (tmp_path / "bin").mkdir()
        for name in programs:
            (tmp_path / "bin" / name).write_text("#!/bin/sh\n")
            (tmp_path / "bin" / name).chmod(0o755)
        return launch.Launch(
            attempt="1/1",
            node="node-1",
            node_rank=0,
            nodes=2,
            tree="t",
            argv=("python", "train.py"),
            ranks=3,
            addresses=("127.0.1.1", "127.0.1.2"),
            env={"PATH": str(tmp_path / "bin")},
            **{"virtual": True, **fields},
        )

    return make


def test_open_mpi_is_given_slots_by_address_and_our_remote_start(document, tmp_path):
    argv, _ = mpi.command(document(OPEN_MPI), "/agent.pyz")
    assert argv[0] == str(tmp_path / "bin" / "mpiexec")
    assert (tmp_path / "hosts").read_text() == "127.0.1.1 slots=3\n127.0.1.2 slots=3\n"
    assert argv[argv.index("plm_ssh_agent") + 1] == str(tmp_path / "rsh")
    assert argv[argv.index("-n") + 1] == "6"
    assert argv[-2:] == ("rank", '["python", "train.py"]'), "one word: mpiexec reads the others"


def test_mpich_is_given_ranks_by_address_and_no_environment(document, tmp_path):
    argv, extra = mpi.command(document(MPICH), "/agent.pyz")
    assert (tmp_path / "hosts").read_text() == "127.0.1.1:3\n127.0.1.2:3\n"
    assert "-genvnone" in argv
    assert extra == {"HYDRA_LAUNCHER_AUTOFORK": "0"}


def test_real_nodes_are_not_tied_to_the_loopback(document):
    argv, _ = mpi.command(document(OPEN_MPI, virtual=False), "/agent.pyz")
    assert "btl_tcp_if_include" not in argv


def test_an_environment_without_mpi_is_told_what_to_add(document):
    with pytest.raises(mpi.NoMpi, match=r"env\.packages"):
        mpi.command(document(("mpiexec",)), "/agent.pyz")


def test_the_remote_start_survives_strange_paths(document, tmp_path):
    mpi.command(document(MPICH), "/it's here/agent.pyz")
    assert "'/it'\\''s here/agent.pyz'" in (tmp_path / "rsh").read_text()
