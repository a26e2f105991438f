"""The contracts of pyproject.toml, as the architecture tests read them."""

from __future__ import annotations

import re
import tomllib
from typing import Any

from tests.architecture.source_tree import REPO, SRC

PYPROJECT = REPO / "pyproject.toml"


def contracts() -> dict[str, dict[str, Any]]:
    """Every contract by id."""
    with PYPROJECT.open("rb") as file:
        found = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    return {contract["id"]: contract for contract in found}


def layers() -> list[set[str]]:
    """Names of the rooms from high to low; one set for each line."""
    return [set(re.findall(r"\w+", line)) for line in contracts()["layers"]["layers"]]


def rooms_present() -> set[str]:
    """Rooms that exist now: packages and modules directly below zenkei that hold source."""
    packages = {path.parent.name for path in SRC.glob("*/*.py")}
    modules = {path.stem for path in SRC.glob("*.py")} - {"__init__"}
    return packages | modules
