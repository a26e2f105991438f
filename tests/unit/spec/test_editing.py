"""What a waiting job asks for, changed by the rules of a job file; nothing else changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings

from tests.strategies import job_specs
from zenkei import spec
from zenkei.model.errors import InvalidInput
from zenkei.model.job import JobSpec, Topology
from zenkei.spec.editing import ALL, wishes

FILE = b"""
name: train
command: python train.py --lr ${{ matrix.lr }}
matrix: {lr: [0.1, 0.2]}
launcher: torchrun
env: {packages: [numpy], vars: {A: x}}
resources: {nodes: 2, gpus: 4, gpu_type: [H200, A100], cpus: 8, memory: 16GiB}
time_limit: 90m
"""


@pytest.fixture
def before() -> JobSpec:
    return spec.parse(FILE, file="job.yaml")


def test_what_is_named_changes_and_all_else_stays(before: JobSpec) -> None:
    after = spec.edited(before, {"queue": "fast", "priority": "7", "time_limit": "2h"})
    assert after == replace(before, queue="fast", priority=7, time_limit_s=7200.0)


def test_ranks_follow_the_gpus_unless_they_were_chosen(before: JobSpec) -> None:
    after = spec.edited(before, {"resources": {"gpus": "8"}})
    assert (after.resources.ranks, after.resources.node.gpu_count) == (8, 8)
    chosen = replace(before, resources=replace(before.resources, ranks=2))
    assert spec.edited(chosen, {"resources": {"gpus": "8"}}).resources.ranks == 2
    with pytest.raises(InvalidInput, match="3 GPUs cannot be shared evenly by 2 ranks"):
        spec.edited(chosen, {"resources": {"gpus": "3"}})


def test_a_number_of_nodes_becomes_a_range_and_a_topology_comes_and_goes(
    before: JobSpec,
) -> None:
    wide = spec.edited(
        before, {"resources": {"nodes": {"min": "2", "max": "8"}}, "topology": {"required": "rack"}}
    )
    assert (wide.resources.least, wide.resources.nodes) == (2, 8)
    assert wide.topology == Topology(level="rack", required=True)
    back = spec.edited(wide, {"resources": {"nodes": "2"}, "topology": None})
    assert back == before


def test_none_takes_a_wish_away(before: JobSpec) -> None:
    after = spec.edited(
        before, {"time_limit": None, "resources": {"gpu_type": None, "memory": None}}
    )
    assert after.time_limit_s is None
    assert (after.resources.node.gpu_kinds, after.resources.node.memory_bytes) == ((), 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"priority": "high"}, "`priority` must be a whole number"),
        ({"time_limit": "-1h"}, "`time_limit`"),
        ({"resources": {"gpus": "1.5"}}, "`resources.gpus` cannot be 1.5"),
        ({"resources": {"gpus": "0.5"}}, "a share of a GPU is for one node"),
        ({"resources": {"nodes": {"min": "4", "max": "2"}}}, "`resources.nodes.min` is 4"),
        ({"resources": "many"}, "`resources`"),
    ],
)
def test_what_no_job_file_may_ask_for_is_refused_in_the_same_words(
    before: JobSpec, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        spec.edited(before, changes)
    assert message.strip("`") in str(refused.value) + " ".join(map(str, refused.value.problems))


@pytest.mark.parametrize("key", ["command", "env", "code", "outputs", "launcher", "x\x1b[31m"])
def test_what_is_prepared_already_cannot_be_changed(before: JobSpec, key: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        spec.edited(before, {key: "x"})
    assert refused.value.code == "not-editable"
    assert "priority" in refused.value.hint
    assert "\x1b" not in str(refused.value)


def test_what_is_different_is_told_in_words(before: JobSpec) -> None:
    after = spec.edited(
        before,
        {
            "priority": 5,
            "time_limit": None,
            "topology": "rack",
            "resources": {"nodes": {"max": 8, "min": 2}, "memory": "32GiB"},
        },
    )
    assert spec.changes(before, after) == (
        "priority: none to 5",
        "time_limit: 90m to none",
        "topology: none to rack (preferred)",
        "resources.nodes: 2 to 2-8",
        "resources.memory: 16GiB to 32GiB",
    )


@settings(deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(made=job_specs())
def test_editing_nothing_of_a_spec_that_a_job_file_can_have_changes_nothing(made: JobSpec) -> None:
    assume(plausible(made))
    again = spec.edited(made, {"queue": made.queue})
    assert again == made
    assert set(wishes(made)) <= set(ALL)


def test_fine_amounts_survive_an_edit(before: JobSpec) -> None:
    fine = spec.edited(
        before, {"resources": {"cpus": "1234.567", "gpus": "0.333", "nodes": "1", "tmp": "123457B"}}
    )
    assert fine.resources.node.cpu_milli == 1_234_567
    assert spec.edited(fine, {"priority": "1"}).resources == fine.resources


def plausible(made: JobSpec) -> bool:
    """Whether the parser could have made it: the strategy also draws what rules refuse."""
    try:
        spec.edited(made, {"queue": made.queue})
    except InvalidInput:
        return False
    return True
