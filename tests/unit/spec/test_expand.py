"""Members of sweeps, what their commands become, and which variables they get."""

import pytest

from zenkei import spec
from zenkei.model.errors import InvalidInput
from zenkei.model.job import JobSpec


def parse(text: str) -> JobSpec:
    return spec.parse(text.encode(), file="job.yaml")


def test_a_plain_job_is_one_member_without_parameters():
    assert spec.members(parse("command: x")) == ({},)


def test_the_last_parameter_varies_fastest_and_values_stay_as_written():
    job = parse("command: x\nmatrix: {lr: [0.10, 1e-3], on: [yes, 012]}")
    assert spec.members(job) == (
        {"lr": "0.10", "on": "yes"},
        {"lr": "0.10", "on": "012"},
        {"lr": "1e-3", "on": "yes"},
        {"lr": "1e-3", "on": "012"},
    )


def test_an_array_counts_from_zero():
    assert spec.members(parse("command: x\narray: 3")) == tuple(
        {"array.index": text} for text in "012"
    )


def test_an_array_repeats_each_point_of_a_matrix():
    job = parse("command: x\narray: 2\nmatrix: {lr: [1, 2]}")
    assert [(m["lr"], m["array.index"]) for m in spec.members(job)] == [
        ("1", "0"),
        ("1", "1"),
        ("2", "0"),
        ("2", "1"),
    ]


def test_a_hundred_thousand_members_are_the_most():
    assert len(spec.members(parse("command: x\narray: 100000"))) == 100_000


def test_a_text_runs_in_a_shell_that_stops_at_the_first_error():
    job = parse(
        "command: |\n  cd src\n  python train.py --lr ${{ matrix.lr }}\nmatrix: {lr: [0.1]}"
    )
    assert spec.command(job, {"lr": "0.1"}) == (
        "/bin/sh",
        "-ec",
        "cd src\npython train.py --lr 0.1",
    )


def test_a_list_is_started_without_a_shell_and_a_value_stays_one_argument():
    job = parse(
        "command: [echo, '${{matrix.who}}', 'a${{ matrix.who }}b']\nmatrix: {who: ['x; y z']}"
    )
    assert spec.command(job, {"who": "x; y z"}) == ("echo", "x; y z", "ax; y zb")


def test_a_value_is_not_expanded_again():
    job = parse("command: [echo, '${{ matrix.a }}', '${{ matrix.b }}']\nmatrix: {a: [x], b: [y]}")
    assert spec.command(job, {"a": "${{ matrix.b }}", "b": "y"})[1] == "${{ matrix.b }}"


def test_variables_carry_the_parameters_for_shells():
    job = parse(
        "command: x\nenv: {vars: {OUT: 'run-${{ matrix.learning-rate }}-${{ array.index }}'}}\n"
        "matrix: {learning-rate: [0.1]}\narray: 2"
    )
    assert spec.variables(job, {"learning-rate": "0.1", "array.index": "1"}) == {
        "OUT": "run-0.1-1",
        "ZENKEI_PARAM_LEARNING_RATE": "0.1",
        "ZENKEI_ARRAY_INDEX": "1",
    }


def test_deterministic_sets_switches_that_the_author_may_change():
    job = parse("command: x\ndeterministic: true\nenv: {vars: {PYTHONHASHSEED: 7}}")
    found = spec.variables(job, {})
    assert found["PYTHONHASHSEED"] == "7"
    assert found["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert spec.variables(parse("command: x"), {}) == {}


def test_a_missing_parameter_is_named():
    job = parse("command: echo ${{ matrix.lr }}\nmatrix: {lr: [1]}")
    with pytest.raises(InvalidInput, match=r"matrix\.lr"):
        spec.command(job, {})


def test_values_that_make_a_command_too_long_are_refused():
    template = "${{ matrix.a }} " * 200
    with pytest.raises(InvalidInput) as caught:
        parse(f"command: {template}\nmatrix: {{a: [{'x' * 999}]}}")
    assert caught.value.problems[0].code == "too-large"
