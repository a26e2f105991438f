"""Interpreters are found by what they say of themselves, and chosen predictably."""

import os
import sys
from pathlib import Path

import pytest

from zenkei.envs.pythons import Python, Pythons
from zenkei.model.errors import InvalidInput

OWN = ".".join(str(part) for part in sys.version_info[:3])
MINOR = OWN.rpartition(".")[0]


def base() -> str:
    return os.path.realpath(getattr(sys, "_base_executable", sys.executable))


def test_no_wish_is_zenkeis_own_base_interpreter():
    python = Pythons({}).choose("")
    assert python == Python(version=OWN, path=base())


@pytest.mark.parametrize("wish", [MINOR, OWN])
def test_the_own_one_is_preferred_where_it_matches(wish):
    assert Pythons({}).choose(wish).path == base()


def test_an_interpreter_on_path_is_found_through_links_and_its_real_file_is_named(tmp_path: Path):
    (tmp_path / f"python{MINOR}").symlink_to(base())
    stranger = Python(version="3.99.1", path="/nowhere")
    found = Pythons({"PATH": str(tmp_path)}, own=stranger).choose(OWN)
    assert found == Python(version=OWN, path=base())


def test_pyenvs_folders_are_searched(tmp_path: Path):
    folder = tmp_path / "versions" / OWN / "bin"
    folder.mkdir(parents=True)
    (folder / "python3").symlink_to(base())
    stranger = Python(version="3.99.1", path="/nowhere")
    found = Pythons({"PYENV_ROOT": str(tmp_path)}, own=stranger).choose(OWN)
    assert found.version == OWN


def test_scripts_such_as_pyenvs_shims_are_not_started(tmp_path: Path):
    shim = tmp_path / "python3.77"
    shim.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    shim.chmod(0o755)
    with pytest.raises(InvalidInput):
        Pythons({"PATH": str(tmp_path)}).choose("3.77")
    assert not (tmp_path / "started").exists()


def test_a_missing_version_lists_what_there_is():
    with pytest.raises(InvalidInput) as caught:
        Pythons({}).choose("3.77")
    assert OWN in caught.value.message
    assert "env.python" in caught.value.hint


@pytest.mark.parametrize("wish", ["2.7", "3.7", "three", "3", "3.11; rm", "3.11.7.1"])
def test_what_is_no_usable_version_is_refused(wish):
    with pytest.raises(InvalidInput):
        Pythons({}).choose(wish)


def test_a_lock_takes_another_patch_only_if_the_job_did_not_ask_for_one():
    pythons = Pythons({})
    assert pythons.like(f"{MINOR}.999", exact=False).minor == MINOR
    with pytest.raises(InvalidInput):
        pythons.like(f"{MINOR}.999", exact=True)
