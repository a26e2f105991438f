"""Groups of a job: names without what differs from run to run, missing facts left out."""

from __future__ import annotations

import pytest

from zenkei.predict.facts import Facts, path, template


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("train-resnet50-lr0.001", "train-resnet18-lr0.1"),
        ("eval 2026-11-27 14:20", "eval 2025-01-03 09:05"),
        ("sweep/9f86d081884c", "sweep/2c26b46b68ff"),
        ("run_a8F3kQ9z", "run_Zk31x9Ab"),
    ],
)
def test_runs_of_one_program_have_one_template(one, other):
    assert template(one) == template(other)


@pytest.mark.parametrize(
    ("one", "other"), [("train", "eval"), ("face-detect", "decade-added"), ("bert", "bart")]
)
def test_different_programs_have_different_templates(one, other):
    assert template(one) != template(other)


def test_groups_go_from_queue_to_gpus():
    facts = Facts(user="ann", queue="lab", name="train-7", command="c0de", gpus_milli=8000)
    assert path(facts) == ("q:lab", "u:ann", "n:train-#", "c:c0de", "g:8000")


def test_what_is_not_known_makes_no_group():
    assert path(Facts(queue="lab", gpus_milli=500)) == ("q:lab", "g:500")
