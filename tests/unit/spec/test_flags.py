"""Job specs from the command line's flags, and names for jobs that have none."""

import pytest

from zenkei import spec
from zenkei.model.errors import InvalidInput
from zenkei.model.resources import Request


def test_flags_are_the_same_keys_with_texts_as_typed():
    made = spec.from_flags(
        {
            "command": ["python", "train.py", "--lr", "0.10"],
            "resources": {"gpus": "0.5", "cpus": 2, "memory": "4GiB"},
            "time_limit": "1.5h",
            "env": {"vars": {"A": "no"}, "packages": ("numpy",)},
            "deterministic": True,
            "after": ["41"],
        }
    )
    written = spec.parse(
        b"""
name: train
command: [python, train.py, --lr, "0.10"]
resources: {gpus: 0.5, cpus: 2, memory: 4GiB}
time_limit: 90m
env: {vars: {A: no}, packages: [numpy]}
deterministic: true
after: 41
""",
        file="job.yaml",
    )
    assert made == written
    assert made.resources.node == Request(
        cpu_milli=2000, memory_bytes=4 << 30, gpu_count=1, gpu_milli=500
    )


def test_problems_of_flags_have_no_place():
    with pytest.raises(InvalidInput) as caught:
        spec.from_flags({"command": [], "resources": {"gpu": 1}})
    assert [p.at for p in caught.value.problems] == [None, None]
    assert str(caught.value.problems[1]) == "`gpu` is not a key of `resources`"


def test_an_argument_that_looks_like_nothing_is_still_an_argument():
    assert spec.from_flags({"command": ["~", "null", ""]}).command == ("~", "null", "")


@pytest.mark.parametrize(
    ("file", "command", "name"),
    [
        ("job.yaml", "python train.py", "train"),
        ("digits/job.yaml", "python train.py", "digits"),
        ("digits/sweep.yml", "x", "sweep"),
        ("/job.yaml", "x", "job"),
        ("./job.yaml", "x", "job"),
        ("../job.yaml", "x", "job"),
        ("実験/job.yaml", "x", "実験"),
        ("a\x1b[31mb/job.yaml", "x", "a[31mb"),
        ("${{ x }}/job.yaml", "x", "job"),
        ("command line", "bash -c 'python src/main.py --x 1'", "main"),
        ("command line", "hostname", "job"),
        ("x" * 300 + ".yaml", "x", "x" * 200),
    ],
)
def test_a_job_without_a_name_is_called_by_its_directory_or_script(
    file: str, command: str, name: str
):
    page = spec.parse(f'command: "{command}"'.encode(), file=file)
    assert page.name == name


def test_the_folder_may_be_told_apart_from_the_name_that_messages_show():
    assert spec.parse(b"command: x", file="job.yaml", folder="/home/me/digits/").name == "digits"
    with pytest.raises(InvalidInput) as caught:
        spec.parse(b"commnd: x", file="job.yaml", folder="/home/me/digits")
    assert str(caught.value.problems[0].at) == "job.yaml:1:1"
