"""The import rules hold, and each of them would notice a violation."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.architecture.contracts import PYPROJECT, contracts, layers, rooms_present
from tests.architecture.source_tree import REPO, SRC, short


@dataclass(frozen=True)
class Plant:
    """An import that must not be: where it is put, and the one contract that it breaks."""

    title: str
    contract: str
    files: tuple[tuple[str, str], ...]


def plant(title: str, contract: str, room: str, line: str, **more: str) -> Plant:
    """`line` as a new module in `room`; `more`: other modules that must exist, `__` for `/`."""
    name = f"zenkei/{room}/planted.py" if room else "zenkei/__init__.py"
    others = tuple((f"zenkei/{n.replace('__', '/')}.py", text) for n, text in more.items())
    return Plant(title, contract, ((name, line), *others))


PLANTS = [
    plant("a word that knows a port", "layers", "model", "import zenkei.ports"),
    plant("a use-case that knows the server", "layers", "control", "from zenkei import server"),
    plant("a use-case that knows an adapter", "layers", "control", "import zenkei.store"),
    plant("an adapter that knows its neighbour", "layers", "envs", "import zenkei.data"),
    plant("a planner that knows the life cycle", "layers", "scheduler", "import zenkei.lifecycle"),
    plant("estimates that know the planner", "layers", "predict", "import zenkei.scheduler"),
    plant("the server and the simulator meet", "layers", "sim", "import zenkei.server"),
    plant("the composition root calls the CLI", "layers", "server", "import zenkei.cli"),
    Plant("a room that nobody drew", "layers", (("zenkei/helpers/__init__.py", ""),)),
    plant("a planner that looks at the clock", "pure", "scheduler", "import time"),
    plant("a word that reads the environment", "pure", "model", "from os import environ"),
    plant("a life cycle that rolls dice", "pure", "lifecycle", "import random"),
    plant("a model of durations with threads", "pure", "predict", "import threading"),
    plant("words with arrays", "words", "model", "import numpy"),
    plant("a protocol with arrays", "words", "protocol", "import numpy"),
    plant("a route that opens the store", "surfaces", "server", "import zenkei.store"),
    plant("a command that opens an engine", "surfaces", "cli", "import zenkei.engines.local"),
    plant(
        "a simulator on a real store",
        "simulation",
        "sim",
        "from zenkei.store import real",
        store__real="",
    ),
    plant("a simulator on a real engine", "simulation", "sim", "import zenkei.engines.local"),
    plant("a simulator on real time", "simulation", "sim", "import time"),
    plant("a memory store made of SQL", "no-sql", "store/memory", "import sqlalchemy"),
    Plant(
        "a front door made of SQL",
        "no-sql",
        (
            ("zenkei/store/__init__.py", "import zenkei.store.real"),
            ("zenkei/store/real.py", "import sqlite3"),
        ),
    ),
    plant("an agent that knows words", "travellers", "agent", "import zenkei.model"),
    plant("an agent that knows the sdk", "travellers", "agent", "from zenkei import sdk"),
    plant("an sdk that knows words", "travellers", "sdk", "import zenkei.model"),
    plant("a package that imports its rooms", "root", "", "import zenkei.model"),
    plant("an engine that borrows", "engines", "engines/slurm", "import zenkei.engines.local"),
    plant("a use-case that reads settings", "settings", "control", "import zenkei.settings"),
    Plant(
        "settings that know a use-case",
        "settings-leaf",
        (("zenkei/settings.py", "import zenkei.control"),),
    ),
    Plant("settings made of models", "settings-leaf", (("zenkei/settings.py", "import pydantic"),)),
]

ALLOWED = [
    plant("the simulator on the memory store", "", "sim", "import zenkei.store.memory"),
    plant(
        "the composition root names adapters",
        "",
        "cli",
        "import zenkei.app",
        app="import zenkei.store",
    ),
    plant("a planner with arrays", "", "scheduler", "import numpy"),
    plant("estimates with arrays", "", "predict", "import numpy, zenkei.model"),
    plant("an agent that speaks the protocol", "", "agent", "import zenkei.protocol"),
    plant("a real store of SQL", "", "store", "import sqlalchemy, zenkei.ports"),
]


def break_with(source: Path, plants: list[Plant]) -> list[list[str]]:
    """Ids of the contracts that each plant, alone, breaks in the tree below `source`."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.architecture.lint_plants", str(PYPROJECT)],
        cwd=REPO,
        env={**os.environ, "PYTHONPATH": str(source)},
        input=json.dumps([plant.files for plant in plants]),
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    results: list[list[str]] = json.loads(done.stdout)
    return results


@pytest.fixture(scope="module")
def bare_rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every room of the picture, empty: what a plant breaks there is the plant's doing."""
    source = tmp_path_factory.mktemp("bare")
    rooms = set().union(*layers()) - {"app"}
    inner = {"engines/inline", "engines/local", "engines/slurm", "engines/kubernetes"}
    for room in ["", *rooms, *inner, "store/memory"]:
        folder = source / "zenkei" / room
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "__init__.py").touch()
    (source / "zenkei" / "app.py").touch()
    (source / "zenkei" / "settings.py").touch()
    return source


@pytest.fixture(scope="module")
def broken(bare_rooms: Path) -> dict[str, list[str]]:
    plants = PLANTS + ALLOWED
    return dict(zip([p.title for p in plants], break_with(bare_rooms, plants), strict=True))


def test_the_contracts_hold():
    assert break_with(SRC.parent, [Plant("nothing", "", ())]) == [[]]


@pytest.mark.parametrize("plant", PLANTS, ids=lambda p: p.title)
def test_a_contract_catches(plant, broken):
    assert broken[plant.title] == [plant.contract]


@pytest.mark.parametrize("plant", ALLOWED, ids=lambda p: p.title)
def test_the_contracts_allow(plant, broken):
    assert broken[plant.title] == []


def test_every_contract_has_a_plant():
    assert {plant.contract for plant in PLANTS} == set(contracts())


def test_the_contracts_bite_in_the_real_tree(tmp_path):
    shutil.copytree(SRC, tmp_path / "zenkei", ignore=shutil.ignore_patterns("__pycache__"))
    for room in ("model", "scheduler", "ports"):
        (tmp_path / "zenkei" / room).mkdir(exist_ok=True)
        (tmp_path / "zenkei" / room / "__init__.py").touch()
    upward = plant("", "", "model", "import zenkei.ports, os, numpy")
    assert {"layers", "pure", "words"} <= set(break_with(tmp_path, [upward])[0])


def test_contracts_spell_rooms_as_the_layers_do():
    known = set().union(*layers()) | {"settings"}
    text = PYPROJECT.read_text(encoding="utf-8")
    named = set(re.findall(r"\bzenkei\.(\w+)", text[text.index("[tool.importlinter]") :]))
    assert named - known == set()


def test_every_room_present_is_a_room_of_the_layers():
    assert rooms_present() - set().union(*layers()) <= {"settings"}


def test_every_folder_of_source_is_a_package_that_the_contracts_see():
    folders = {path.parent for path in SRC.rglob("*.py")}
    assert [short(f) for f in sorted(folders) if not (f / "__init__.py").exists()] == []
