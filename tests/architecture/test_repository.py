"""What is committed names no machine and no package registry, and can be set up anywhere."""

import os
import re
from pathlib import Path

import pytest

from tests.architecture.source_tree import REPO, repository_files, short

# written in parts, or this file would name them
REGISTRIES = [
    "pypi" + ".org",
    "python" + "hosted.org",
    "npmjs" + ".org",
    "npmjs" + ".com",
    "crates" + ".io",
    "anaconda" + ".org",
    "anaconda" + ".com",
]
INDEX_OPTION = re.compile(
    r"^\s*-{1,2}(i|f|index-url|extra-index-url|default-index|find-links)\b", re.M
)
MACHINE_PATH = re.compile(r"(?<![\w.})\"'>-])/(work/(main|shared)|root/|tmp/zk/)")


def text_of(path: Path) -> str:
    """The file as text; empty for what is not text."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


def hosts_of_this_machine() -> list[str]:
    """Indexes that this machine is told to use: an engineer's own must not slip into a lock."""
    values = [os.environ.get(name, "") for name in ("PIP_INDEX_URL", "UV_DEFAULT_INDEX")]
    return [m.group(1) for v in values if (m := re.match(r"\w+://(?:[^@/]*@)?([^/:]+)", v))]


def registries_in(text: str) -> list[str]:
    return [host for host in REGISTRIES + hosts_of_this_machine() if host in text]


def machine_paths_in(text: str) -> list[str]:
    found = [match.group(0) for match in MACHINE_PATH.finditer(text)]
    return found + ([str(REPO)] if str(REPO) in text else [])


def test_no_file_names_a_package_registry():
    found = {short(path): registries_in(text_of(path)) for path in repository_files()}
    assert {name: hosts for name, hosts in found.items() if hosts} == {}


def test_no_file_names_a_place_on_the_machine_it_was_written_on():
    found = {short(path): machine_paths_in(text_of(path)) for path in repository_files()}
    assert {name: places for name, places in found.items() if places} == {}


def test_the_checks_of_names_bite():
    registry, home = "pypi" + ".org", "/" + "root/"
    assert registries_in(f"see https://{registry}/simple") == [registry]
    assert machine_paths_in(f"HOME={home}x") == [home]
    assert machine_paths_in(f"cd {REPO}") != []
    assert machine_paths_in(f"/proc/self{home}etc") == []


@pytest.mark.parametrize("name", ["runtime.txt", "dev.txt", "bootstrap.txt"])
def test_requirements_are_pinned_by_hash_and_name_no_index(name):
    text = (REPO / "requirements" / name).read_text(encoding="utf-8")
    assert not INDEX_OPTION.search(text)
    assert "://" not in text
    entries = re.split(r"\n(?=[A-Za-z0-9])", re.sub(r"^\s*#.*\n", "", text, flags=re.M).strip())
    assert entries
    for entry in entries:
        assert re.match(r"[A-Za-z0-9._-]+(\[[\w,-]+\])?==[^ ]+ ", entry), entry
        assert "--hash=sha256:" in entry, entry


def test_what_development_installs_is_what_users_get():
    def pins(name: str) -> set[str]:
        text = (REPO / "requirements" / name).read_text(encoding="utf-8")
        return {m.group(0) for m in re.finditer(r"^[A-Za-z0-9._\[\],-]+==[^ \\]+", text, re.M)}

    assert pins("runtime.txt") <= pins("dev.txt")
    assert pins("bootstrap.txt") <= pins("dev.txt")


def test_there_is_one_lock_and_it_is_ours():
    names = {path.name for path in repository_files()}
    assert names.isdisjoint({"uv" + ".lock", "poetry.lock", "Pipfile.lock", "pdm.lock"})


def test_recipes_of_the_makefile_are_at_most_three_lines():
    text = (REPO / "Makefile").read_text(encoding="utf-8")
    recipes = re.findall(r"^(\w+):.*\n((?:\t.*\n)+)", text, re.M)
    assert {"setup", "demo", "test", "quick", "bench", "soak", "docs"} <= {r[0] for r in recipes}
    assert {name: body for name, body in recipes if body.count("\n") > 3} == {}
