"""What a command starts, and what torchrun's commands mean."""

from __future__ import annotations

import pytest

from zenkei.model.job import JobSpec, Launcher
from zenkei.spec import command
from zenkei.spec.launching import starter


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("torchrun train.py", "torchrun"),
        ("/env/bin/torchrun train.py", "torchrun"),
        ("python3.11 -m torch.distributed.launch train.py", "torch.distributed.launch"),
        ("export A=1; A=2 mpiexec -n 4 ./x", "mpiexec"),
        ("accelerate  launch train.py", "accelerate launch"),
        ("cd x\n  exec srun ./x", "srun"),
        ("python train.py", ""),
        ("python torchrun.py", ""),
        ("echo torchrun", ""),
        ("# torchrun train.py\npython train.py", ""),
        ("./mpirun-wrapper.sh", ""),
        (("mpirun", "-n", "4", "x"), "mpirun"),
        (("python", "-m", "torch.distributed.run", "x.py"), "torch.distributed.run"),
        (("bash", "-c", "x"), ""),
        ((), ""),
    ],
)
def test_the_launcher_that_a_command_starts_is_seen(text, name):
    assert starter(text) == name


@pytest.mark.parametrize(
    ("asked", "argv"),
    [
        (("train.py", "--lr", "1"), ("python", "train.py", "--lr", "1")),
        (("src/train.py",), ("python", "src/train.py")),
        (("python", "train.py"), ("python", "train.py")),
        ("train.py --lr 1", ("/bin/sh", "-ec", "python train.py --lr 1")),
        ("python train.py", ("/bin/sh", "-ec", "python train.py")),
        ("train.python", ("/bin/sh", "-ec", "train.python")),
    ],
)
def test_torchrun_runs_a_python_file_as_torchrun_itself_does(asked, argv):
    spec = JobSpec(name="x", command=asked, launcher=Launcher.TORCHRUN)
    assert command(spec, {}) == argv


def test_without_torchrun_a_command_is_taken_as_it_is():
    assert command(JobSpec(name="x", command=("train.py",)), {}) == ("train.py",)
