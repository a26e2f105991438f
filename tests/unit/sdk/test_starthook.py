"""The start-up hook in real Pythons: what it seeds, what it leaves alone, what it tells."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.test_old_python import old_python
from zenkei.engines.local.shipping import ship_sdk

OLD = old_python()
PYTHONS = [sys.executable] + ([OLD] if OLD else [])


class Rank:
    """A place in which Pythons of one rank start."""

    def __init__(self, folder: Path) -> None:
        self.sdk = ship_sdk(folder)
        self.starts = folder / "starts"
        self.starts.mkdir()

    def run(self, code: str, *argv: str, python: str = sys.executable, **more: str) -> str:
        environ = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(self.sdk),
            "ZENKEI_STARTS_DIR": str(self.starts),
            "ZENKEI_START": "seed",
            "ZENKEI_SEED": "7",
            "ZENKEI_RANK": "0",
            **more,
        }
        done = subprocess.run(
            [python, *argv, "-c", code], env=environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return done.stdout.strip()

    def told(self, rank: int = 0) -> list[list[str]]:
        """Lines without the numbers of processes."""
        path = self.starts / str(rank)
        lines = path.read_text().splitlines() if path.exists() else []
        return [[f for i, f in enumerate(line.split("\t")) if i != 1] for line in lines]


@pytest.fixture
def rank(tmp_path: Path) -> Rank:
    return Rank(tmp_path)


@pytest.mark.parametrize("python", PYTHONS)
def test_random_is_seeded_before_the_program_uses_it(rank, python):
    first = rank.run("import random; print(random.random())", python=python)
    by_hand = rank.run("import random; random.seed(7); print(random.random())", python=python)
    assert first == by_hand
    assert ["seeded", "python", "7"] in rank.told()


def test_numpy_is_seeded_when_it_is_imported_and_a_seed_of_the_program_wins(rank):
    code = "import numpy; {}print(numpy.random.rand())"
    assert rank.run(code.format("")) == rank.run(code.format("numpy.random.seed(7); "))
    assert rank.run(code.format("numpy.random.seed(8); ")) != rank.run(code.format(""))


def test_another_seed_is_another_number(rank):
    code = "import random; print(random.random())"
    assert rank.run(code) != rank.run(code, ZENKEI_SEED="8")


def test_nothing_is_imported_that_the_program_does_not_use(rank):
    found = rank.run("import sys; print('numpy' in sys.modules or 'random' in sys.modules)")
    assert found == "False"
    assert [line[0] for line in rank.told()] == ["start"]


def test_without_a_seed_randomness_stays_as_it_is_and_only_versions_are_told(rank):
    code = "import random; print(random.random())"
    first = rank.run(code, ZENKEI_START="report")
    assert first != rank.run(code, ZENKEI_START="report")
    rank.run("import numpy", ZENKEI_START="report")
    assert ["version", "numpy"] in [line[:2] for line in rank.told()]
    assert "seeded" not in [line[0] for line in rank.told()]


def test_it_can_be_switched_off(rank):
    code = "import random; print(random.random())"
    assert rank.run(code, ZENKEI_START="off") != rank.run(code, ZENKEI_START="off")
    assert rank.told() == []


@pytest.mark.parametrize("flag", ["-S", "-I", "-E"])
def test_a_python_that_starts_without_site_or_environment_is_not_reached(rank, flag):
    rank.run("print(1)", flag)
    assert rank.told() == []


def test_the_program_sees_the_import_of_a_seeded_module_as_ever(rank):
    code = (
        "import random, sys, inspect; m = sys.modules['random'];"
        "print(m.__spec__.name, type(m.__loader__).__name__,"
        " 'exec_module' in vars(m.__loader__), 'def seed' in inspect.getsource(m))"
    )
    assert rank.run(code) == "random SourceFileLoader False True"


def test_a_sitecustomize_of_the_user_still_runs(rank, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "sitecustomize.py").write_text("import builtins\nbuiltins.mine = 'yes'\n")
    path = f"{rank.sdk}:{tmp_path / 'mine'}"
    assert rank.run("import random; print(mine)", PYTHONPATH=path) == "yes"
    assert ["seeded", "python", "7"] in rank.told()


def test_a_module_that_cannot_be_seeded_is_told_and_the_program_goes_on(rank, tmp_path):
    (tmp_path / "torch.py").write_text("x = 1\n")
    path = f"{rank.sdk}:{tmp_path}"
    assert rank.run("import torch; print(torch.x)", PYTHONPATH=path) == "1"
    assert ["failed", "torch"] in [line[:2] for line in rank.told()]


FAKE = """
calls = []
def manual_seed(seed): calls.append(("seed", seed))
def use_deterministic_algorithms(mode, warn_only): calls.append(("det", mode, warn_only))
class backends:
    class cudnn:
        benchmark = True
        deterministic = False
"""


def test_switches_of_a_framework_are_set_where_they_are_asked_for(rank, tmp_path):
    (tmp_path / "torch.py").write_text(FAKE)
    path = f"{rank.sdk}:{tmp_path}"
    code = "import torch; print(torch.calls, torch.backends.cudnn.benchmark)"
    assert rank.run(code, PYTHONPATH=path) == "[('seed', 7)] True"
    both = rank.run(code, PYTHONPATH=path, ZENKEI_START="seed,deterministic")
    assert both == "[('seed', 7), ('det', True, True)] False"
    assert ["switch", "torch.use_deterministic_algorithms"] in rank.told()


def test_a_forked_child_does_not_tell_again_what_its_parent_imports(rank):
    code = "import numpy, os, sys\nif os.fork() == 0:\n    sys.exit(0)\nos.wait()"
    rank.run(code)
    assert [line[1] for line in rank.told() if line[0] == "version"].count("numpy") == 1


def test_the_rank_that_mpi_names_counts(rank):
    rank.run("pass", OMPI_COMM_WORLD_RANK="3")
    assert [line[0] for line in rank.told(3)] == ["start"]


def test_a_place_that_is_gone_or_full_of_lines_is_no_trouble(rank):
    rank.run("import random", ZENKEI_STARTS_DIR="/nowhere")
    (rank.starts / "0").write_bytes(b"x" * (1 << 18))
    rank.run("import random")
    assert (rank.starts / "0").stat().st_size == 1 << 18
