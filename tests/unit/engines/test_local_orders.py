"""From an order to launch documents: variables, devices, what never travels."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.builders import node, part
from zenkei.engines.local import orders
from zenkei.model.errors import PermanentEngineError
from zenkei.model.ids import AttemptId
from zenkei.model.job import EnvRequest, JobSpec, Launcher, ResourceRequest, SecretUse
from zenkei.model.resources import Device
from zenkei.ports.engine import LaunchOrder, RunAs
from zenkei.protocol import launch

PLACE = orders.Place(
    home="/home/z",
    boot_id="boot",
    own_env={"HOME": "/home/ann", "LC_ALL": "ja_JP.UTF-8", "AWS_SECRET": "x", "PATH": "/evil"},
    bin_dir="/z/bin",
    sdk="/z/sdk.zip",
    python="/usr/bin/python3",
    wake="../wake",
    head_bytes=1,
    tail_bytes=2,
    prefixes={"n2": ("nsenter", "--net=/x")},
    port=4242,
)


def order(*, nodes: int = 1, **spec) -> LaunchOrder:
    names = [f"n{k}" for k in range(1, nodes + 1)]
    return LaunchOrder(
        attempt=AttemptId.parse("5.2/3"),
        spec=JobSpec(name="x", command="run it", **spec),
        nodes=tuple((node(name), part(name)) for name in names),
        seed=77,
    )


def documents(given: LaunchOrder, env_dir: str = "") -> tuple[launch.Launch, ...]:
    return orders.documents(given, PLACE, env_dir=env_dir, code_dir="")


def test_of_the_daemons_environment_only_what_is_allowed_passes():
    [document] = documents(order())
    assert document.env["HOME"] == "/home/ann"
    assert document.env["LC_ALL"] == "ja_JP.UTF-8"
    assert "AWS_SECRET" not in document.env
    assert "/evil" not in document.env["PATH"]


def test_the_environments_programs_come_first():
    [document] = documents(order(), env_dir="/envs/1")
    assert document.env["PATH"].startswith("/envs/1/bin:")
    assert document.env["PYTHONPATH"] == "/z/sdk.zip"


def test_the_job_may_overrule_defaults_and_keeps_its_own_python_path():
    own = EnvRequest(vars={"PYTHONUNBUFFERED": "", "OMP_NUM_THREADS": "3", "PYTHONPATH": "lib"})
    [document] = documents(order(env=own))
    assert document.env["PYTHONUNBUFFERED"] == ""
    assert document.env["OMP_NUM_THREADS"] == "3"
    assert document.env["PYTHONPATH"] == "/z/sdk.zip:lib"


def test_real_devices_are_shown_by_their_uuid_and_virtual_ones_never():
    given = order()
    [(first, _)] = given.nodes
    real = Device(index=1, kind="h200", uuid="GPU-7")
    devices = (Device(index=0, kind="virtual"), real)
    mixed = replace(first, capacity=replace(first.capacity, devices=devices))
    [document] = documents(replace(given, nodes=((mixed, part("n1", 0, 1)),)))
    assert document.env["CUDA_VISIBLE_DEVICES"] == "GPU-7"
    assert document.env["ZENKEI_VIRTUAL_GPUS"] == "0"


def test_a_job_without_devices_sees_none():
    [document] = documents(order())
    assert document.env["CUDA_VISIBLE_DEVICES"] == ""


def test_a_gang_knows_its_addresses_and_where_to_meet():
    first, second = documents(order(nodes=2, resources=ResourceRequest(nodes=2, ranks=4)))
    assert first.env["MASTER_ADDR"] == second.env["MASTER_ADDR"] == "127.0.0.1"
    assert (first.env["MASTER_PORT"], second.env["ZENKEI_NODE_RANK"]) == ("4242", "1")
    assert second.prefix == ("nsenter", "--net=/x")
    assert first.tree != second.tree


def test_the_hash_seed_is_set_only_for_a_chosen_seed():
    assert "PYTHONHASHSEED" not in documents(order())[0].env
    assert documents(order(seed=77))[0].env["PYTHONHASHSEED"] == "77"


@pytest.mark.parametrize(
    ("keys", "start"),
    [({}, "report"), ({"seed": 7}, "seed"), ({"deterministic": True}, "seed,deterministic")],
)
def test_the_start_hook_seeds_only_where_the_job_asks_and_the_job_has_the_last_word(keys, start):
    assert documents(order(**keys))[0].env["ZENKEI_START"] == start
    off = EnvRequest(vars={"ZENKEI_START": "off"})
    assert documents(order(**keys, env=off))[0].env["ZENKEI_START"] == "off"


def test_secrets_are_named_never_carried():
    [document] = documents(order(secrets=(SecretUse(name="s", variable="TOKEN", as_file=True),)))
    assert document.secrets == (launch.SecretSlot("TOKEN", True),)


def test_another_user_is_refused():
    with pytest.raises(PermanentEngineError):
        documents(replace(order(), run_as=RunAs(uid=0)))


@pytest.mark.parametrize("launcher", [Launcher.TORCHRUN, Launcher.JAX])
def test_a_launcher_that_needs_a_port_gets_one_for_a_single_rank_too(launcher: Launcher):
    [document] = documents(order(launcher=launcher))
    assert (document.port, document.env["MASTER_PORT"]) == (4242, "4242")
    assert "MASTER_PORT" not in documents(order())[0].env
