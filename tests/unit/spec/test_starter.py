"""`zenkei init`: the first job.yaml follows what stands in the directory."""

import pytest

from zenkei import spec
from zenkei.model.job import JobSpec, Launcher


def start(files: dict[str, str], directory: str = "here") -> tuple[str, JobSpec]:
    page = spec.init(files, directory=directory)
    made = spec.parse(page.encode(), file="job.yaml", read=lambda p: files[p].encode())
    return page, made


def test_an_empty_directory_gets_a_job_that_runs():
    page, made = start({})
    assert made == JobSpec(name="here", command="echo hello")
    assert page.count("#") >= 8


@pytest.mark.parametrize(
    ("names", "command"),
    [
        (["a.py", "train.py", "main.py"], "python train.py"),
        (["setup.py", "model.py", "test_model.py"], "python model.py"),
        (["my model.py"], "python 'my model.py'"),
        (["run.sh", "lib.py"], "sh run.sh"),
        (["b.sh"], "sh b.sh"),
        (["note: book.ipynb"], "'note: book.ipynb'"),
        (["数字.py"], "python '数字.py'"),
    ],
)
def test_the_command_starts_the_likeliest_script(names: list[str], command: str):
    assert str(start(dict.fromkeys(names, ""))[1].command).endswith(command)


def test_a_notebook_brings_what_runs_it():
    assert start({"a.ipynb": ""})[1].env.packages == ("ipykernel", "nbconvert")


def test_a_script_that_uses_mpi_is_launched_by_mpi():
    made = start({"train.py": "import numpy\nfrom mpi4py import MPI\n"})[1]
    assert (made.launcher, made.resources.ranks) == (Launcher.MPI, 2)


@pytest.mark.parametrize(
    ("files", "requirements", "lock"),
    [
        ({"requirements.txt": "numpy", "pyproject.toml": ""}, "numpy\n", ""),
        ({"pyproject.toml": '[project]\ndependencies = ["rich"]'}, "rich\n", ""),
        ({"pyproject.toml": "[tool.black]"}, "", ""),
        ({"pyproject.toml": "[broken"}, "", ""),
        ({"pylock.toml": "lock", "requirements.txt": "numpy"}, "", "lock"),
    ],
)
def test_the_environment_comes_from_the_file_that_says_most(
    files: dict[str, str], requirements: str, lock: str
):
    env = start(files)[1].env
    assert (env.requirements, env.lock) == (requirements, lock)


def test_the_pinned_python_is_kept_as_text():
    assert start({".python-version": "3.10\n"})[1].env.python == "3.10"


def test_a_uv_lock_is_explained():
    assert "uv export" in start({"uv.lock": "", "pyproject.toml": ""})[0]


def test_names_that_could_harm_are_not_used():
    assert start({"-rf.py": "", "a\x1b.py": "", "${{ x }}.py": ""})[1].command == "echo hello"
