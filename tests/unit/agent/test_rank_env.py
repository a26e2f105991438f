"""What ranks are told: their place, the network, and what frameworks read by themselves."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from zenkei.agent import rank_env, torchrun_ranks
from zenkei.protocol import launch, names


@pytest.fixture(autouse=True)
def _directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def document(**fields: Any) -> launch.Launch:
    own = {names.NODE_RANK: "1", **fields.pop("env", {})}
    given: dict[str, Any] = {
        "attempt": "42.7/2",
        "node": "node-2",
        "node_rank": 1,
        "nodes": 2,
        "ranks": 2,
        "tree": "t",
        "argv": ("python", "train.py"),
        "addresses": ("10.0.0.1", "10.0.0.2"),
        "port": 20001,
        "env": own,
        **fields,
    }
    return launch.Launch(**given)


def told(interface: str = "eth7", rank: int = 3, local: int = 1, **fields: Any) -> dict[str, str]:
    attempt: Any = SimpleNamespace(
        document=document(**fields), secrets={}, interface=interface, saved=None
    )
    return rank_env.variables(attempt, rank, local)


def test_a_rank_knows_its_place_in_everybodys_words():
    env = told()
    expected = {
        "RANK": "3",
        "WORLD_SIZE": "4",
        "LOCAL_RANK": "1",
        "LOCAL_WORLD_SIZE": "2",
        "GROUP_RANK": "1",
        "NODE_RANK": "1",
    }
    assert {name: env.get(name) for name in expected} == expected


def test_libraries_are_given_the_interface_between_the_nodes():
    env = told()
    assert env["NCCL_SOCKET_IFNAME"] == "=eth7"
    given = {"GLOO_SOCKET_IFNAME", "UCX_NET_DEVICES", "FI_TCP_IFACE", "ZENKEI_INTERFACE"}
    assert {env[name] for name in given} == {"eth7"}


def test_an_interface_that_the_job_chose_stays():
    env = told(env={"NCCL_SOCKET_IFNAME": "ib0"})
    assert (env["NCCL_SOCKET_IFNAME"], env["GLOO_SOCKET_IFNAME"]) == ("ib0", "eth7")


def test_with_rdma_ucx_may_choose_among_all_devices():
    assert "UCX_NET_DEVICES" not in told(rdma=True)


def test_ucx_is_left_alone_where_all_nodes_are_one_machine():
    env = told(interface="lo")
    assert "UCX_NET_DEVICES" not in env
    assert env["GLOO_SOCKET_IFNAME"] == "lo"


def test_without_a_known_interface_nothing_is_claimed():
    assert not [name for name in told(interface="") if name.endswith(("IFNAME", "IFACE"))]


@pytest.mark.parametrize("launcher", ["mpi", "torchrun"])
def test_what_a_foreign_launcher_numbers_itself_is_not_told_before(launcher):
    env = told(launcher=launcher, rank=2, local=0)
    assert "RANK" not in env
    assert "OMPI_MCA_btl_tcp_if_include" not in env


def test_open_mpis_interface_is_that_of_the_ranks_own_node():
    env = {**told(launcher="mpi"), "OMPI_COMM_WORLD_RANK": "3"}
    rank_env.place(env, 3, None)
    assert (env["OMPI_MCA_btl_tcp_if_include"], env["LOCAL_RANK"]) == ("eth7", "1")


def test_jax_is_told_what_it_reads_without_arguments():
    env = told(launcher="jax")
    assert env["JAX_COORDINATOR_ADDRESS"] == "10.0.0.1:20001"
    slurm = {name: value for name, value in env.items() if name.startswith("SLURM_")}
    assert slurm == {
        "SLURM_JOB_ID": "42",
        "SLURM_STEP_NODELIST": "10.0.0.1",
        "SLURM_STEP_NUM_NODES": "2",
        "SLURM_NTASKS": "4",
        "SLURM_PROCID": "3",
        "SLURM_LOCALID": "1",
    }


@pytest.mark.parametrize(
    ("gpus", "ranks", "local", "ids"),
    [("8", 2, 1, "4,5,6,7"), ("4", 4, 2, "2"), ("2", 1, 0, "0,1")],
)
def test_jax_ranks_share_the_gpus_of_their_node(gpus, ranks, local, ids):
    env = told(launcher="jax", local=local, ranks=ranks, env={names.GPUS: gpus})
    assert env["JAX_LOCAL_DEVICE_IDS"] == ids


def test_only_jax_ranks_without_gpus_see_a_host_name_that_is_their_address():
    assert rank_env.host_name(document(launcher="jax")) == "10.0.0.2"
    assert rank_env.host_name(document(launcher="jax", env={names.GPUS: "2"})) == ""
    assert rank_env.host_name(document(launcher="jax", nodes=1)) == ""
    assert rank_env.host_name(document()) == ""


def test_torchrun_meets_at_the_leased_port_and_starts_ranks_through_us():
    argv = torchrun_ranks.command(document(launcher="torchrun"), "/env/bin/python", "/agent.pyz")
    text = " ".join(argv)
    assert text.startswith("/env/bin/python -m torch.distributed.run --nnodes 2 --nproc_per_node 2")
    assert "--node_rank 1 --rdzv_backend static --master_addr 10.0.0.1 --master_port 20001" in text
    assert text.endswith('/agent.pyz rank ["python", "train.py"]')
