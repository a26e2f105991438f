"""What travels into a job's own interpreter runs there: Python 3.8, standard library only."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.source_tree import SRC, python_files, short

ROOMS = ("protocol", "agent", "sdk")
OLDEST = (3, 8)
# run there: compiles and imports every module (`__main__` is for running), reports what it is not
PROBE = """
import importlib, pathlib, py_compile, sys
root = pathlib.Path(sys.argv[1])
sys.path.insert(0, str(root))
for path in sorted(root.rglob("*.py")):
    py_compile.compile(str(path), doraise=True)
    name = ".".join(path.relative_to(root).with_suffix("").parts)
    if not name.endswith("__main__"):
        importlib.import_module(name[:-9] if name.endswith(".__init__") else name)
print(sys.version_info[:2], len([n for n in sys.modules if n.startswith("zenkei")]))
"""


def travellers() -> list[Path]:
    """The files that are shipped: the package itself and the three rooms."""
    return [SRC / "__init__.py", *python_files(*(f"src/zenkei/{room}" for room in ROOMS))]


def old_python() -> str | None:
    """A Python 3.8 of this machine, by ZENKEI_TEST_PYTHON38, PATH or pyenv."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates = [
        os.environ.get("ZENKEI_TEST_PYTHON38", ""),
        *map(str, sorted(pyenv.glob("versions/3.8.*/bin/python3.8"))),
        shutil.which("python3.8") or "",
    ]
    for candidate in filter(None, candidates):
        probe = [candidate, "-c", "import sys; print(*sys.version_info[:2])"]
        try:
            done = subprocess.run(probe, capture_output=True, text=True, check=False, timeout=30)
        except OSError:
            continue
        if done.stdout.split() == [str(part) for part in OLDEST]:
            return candidate
    return None


def ship(folder: Path) -> None:
    for path in travellers():
        target = folder / path.relative_to(SRC.parent)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)


def import_there(python: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Import all that was shipped, isolated from site-packages and from the repository."""
    return subprocess.run(
        [python, "-I", "-S", "-B", "-c", PROBE, str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("path", travellers(), ids=short)
def test_the_syntax_is_that_of_python_38(path):
    ast.parse(path.read_text(encoding="utf-8"), filename=str(path), feature_version=OLDEST)


def test_travellers_import_without_site_packages(tmp_path):
    ship(tmp_path)
    done = import_there(sys.executable, tmp_path)
    assert done.returncode == 0, done.stderr


def test_travellers_import_under_python_38(tmp_path):
    python = old_python()
    if python is None:
        pytest.skip("no Python 3.8 on this machine (set ZENKEI_TEST_PYTHON38)")
    ship(tmp_path)
    done = import_there(python, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("(3, 8)")


@pytest.mark.parametrize("text", ["match x:\n  case 1: pass", "with (a as b, c as d): pass"])
def test_newer_syntax_is_noticed(text):
    with pytest.raises(SyntaxError):
        ast.parse(text, feature_version=OLDEST)


def test_an_import_that_38_lacks_is_noticed(tmp_path):
    python = old_python()
    if python is None:
        pytest.skip("no Python 3.8 on this machine (set ZENKEI_TEST_PYTHON38)")
    ship(tmp_path)
    (tmp_path / "zenkei" / "planted.py").write_text("import tomllib\n")
    assert "tomllib" in import_there(python, tmp_path).stderr
