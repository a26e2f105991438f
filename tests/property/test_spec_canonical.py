"""The canonical form: lossless, one per meaning, and blind to how a file is written."""

import dataclasses
import json

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.strategies import job_specs
from zenkei import spec
from zenkei.model.errors import InvalidInput
from zenkei.model.job import JobSpec

FILE = {
    "name": "run",
    "command": "python train.py ${{ matrix.lr }}",
    "priority": 3,
    "env": {"python": "3.11", "packages": ["numpy", "scipy"], "vars": {"A": "1", "B": "b c"}},
    "resources": {"nodes": 2, "gpus": 4, "memory": "16GiB", "gpu_type": ["A100", "H200"]},
    "labels": {"team": "vision", "stage": "try"},
    "constraints": {"rack": ["a", "b"], "disk": "nvme"},
    "matrix": {"lr": ["0.1", "0.01"]},
    "time_limit": "90m",
    "after": {"ok": [41, 42], "any": [40]},
}


def parse(text: str) -> JobSpec:
    return spec.parse(text.encode(), file="job.yaml")


@given(job_specs())
def test_reading_back_gives_the_same_spec(asked: JobSpec):
    again = spec.from_canonical(spec.canonical(asked))
    assert again == asked
    assert list(again.matrix) == list(asked.matrix)
    assert spec.canonical(again) == spec.canonical(asked)


@given(job_specs(), job_specs())
def test_different_specs_have_different_hashes(one: JobSpec, other: JobSpec):
    same = one == other and list(one.matrix) == list(other.matrix)
    assert (spec.digest(one) == spec.digest(other)) == same


@given(job_specs())
def test_the_form_is_one_line_of_json_without_defaults(asked: JobSpec):
    text = spec.canonical(asked)
    assert "\n" not in text
    written = json.loads(text)
    for part in dataclasses.fields(JobSpec):
        if getattr(asked, part.name) == part.default:
            assert part.name not in written


def test_the_strategy_sets_every_field():
    left = {part.name for part in dataclasses.fields(JobSpec)}
    plain = JobSpec(name="", command="")

    @settings(max_examples=200, database=None, derandomize=True)
    @given(job_specs())
    def look(asked: JobSpec) -> None:
        left.difference_update(n for n in set(left) if getattr(asked, n) != getattr(plain, n))

    look()
    assert left == set()


def shuffled(value: object, draw: st.DrawFn) -> object:
    if isinstance(value, dict):
        keys = draw(st.permutations(list(value)))
        return {key: shuffled(value[key], draw) for key in keys}
    return value


@given(st.data(), st.sampled_from([None, "'", '"']), st.sampled_from([True, False, None]))
def test_order_quotes_and_style_do_not_change_the_hash(data, quote, flow):
    page = yaml.safe_dump(
        shuffled(FILE, data.draw),
        sort_keys=False,
        default_style=None,
        default_flow_style=flow,
        allow_unicode=True,
    )
    if quote:
        page = page.replace("vision", f"{quote}vision{quote}").replace(
            "16GiB", f"{quote}16GiB{quote}"
        )
    again = parse(f"# a comment\n{page}\n# another\n")
    assert spec.digest(again) == spec.digest(parse(yaml.safe_dump(FILE)))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("time_limit: 90m", "time_limit: 1h30m"),
        ("time_limit: 1.5h", "time_limit: 5400"),
        ("resources: {memory: 16GiB}", "resources: {memory: 16384 MiB}"),
        ("resources: {cpus: 0.50}", 'resources: {cpus: "0.5"}'),
        ("resources: {gpus: 1}", "resources: {gpus: 1.0}"),
        ("resources: {nodes: 1, gpus: 0, cpus: 1}", "version: 1"),
        ("launcher: mpi\nresources: {gpus: 2}", "launcher: mpi\nresources: {gpus: 2, ranks: 2}"),
        ("after: 41", "after: {ok: [41]}"),
        ("secrets: [A]", "secrets: [{name: A, env: A}]"),
        ("outputs: outputs", "outputs: ./outputs/"),
        ("constraints: {rack: a}", "constraints: {rack: [a]}"),
        ("env: {packages: [a, b]}", "env: {packages: [b, a, b]}"),
        ("retry: 3", "retry: {limit: 3, backoff: 1s}"),
        ("code: true", "code: {include: [], exclude: []}"),
        ("name: が", "name: \u304b\u3099"),
        ("labels: &a {x: y}", "labels: {x: y}"),
    ],
)
def test_the_same_meaning_has_the_same_hash(one: str, other: str):
    assert spec.digest(parse(f"command: x\n{one}")) == spec.digest(parse(f"command: x\n{other}"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("matrix: {a: [1], b: [2]}", "matrix: {b: [2], a: [1]}"),
        ("matrix: {a: [0.1]}", "matrix: {a: [0.10]}"),
        ("code: {exclude: [a, '!b']}", "code: {exclude: ['!b', a]}"),
        ("env: {vars: {A: yes}}", "env: {vars: {A: true}}"),
    ],
)
def test_a_different_meaning_has_a_different_hash(one: str, other: str):
    assert spec.digest(parse(f"command: x\n{one}")) != spec.digest(parse(f"command: x\n{other}"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "null",
        '{"name":"x"}',
        '{"command":"x","name":"x","newer":1}',
        '{"command":"x","name":"x","resources":{"node":{"tpus":1}}}',
        '{"command":"x","name":"x","array":"3"}',
        '{"command":"x","name":"x","array":true}',
        '{"command":"x","name":"x","matrix":{"a":["1"]}}',
        '{"command":"x","name":"x","launcher":"ssh"}',
        '{"command":"x","name":"x","after":[{"job":"-","after":"ok"}]}',
        "[" * 100_000,
    ],
)
def test_a_damaged_or_newer_form_is_refused_whole(text: str):
    with pytest.raises(InvalidInput) as caught:
        spec.from_canonical(text)
    assert caught.value.code == "bad-canonical-spec"


def test_a_part_that_is_not_known_here_is_named():
    with pytest.raises(InvalidInput, match="unknown part 'newer' of JobSpec"):
        spec.from_canonical('{"command":"x","name":"x","newer":1}')
