"""`zenkei init`: a first job.yaml, commented, from what stands in a directory.

Pure: the caller lists the directory and hands over the contents of small files. What it returns is
accepted by `parse` (given the same files), which a test holds for any listing.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from typing import Final

from zenkei.spec import names
from zenkei.spec.kinds import TEMPLATE_MARK, hidden

_FIRST_SCRIPTS: Final = ("train.py", "main.py", "run.py", "app.py")
_SHELLS: Final = ("run.sh", "train.sh", "main.sh")
_SET_UP: Final = ("setup.py", "conftest.py", "noxfile.py", "__init__.py")
_PYTHON: Final = re.compile(r"\s*(3\.\d{1,3}(?:\.\d{1,3})?)\s*", re.ASCII)
_IMPORTS: Final = re.compile(r"^\s*(?:import|from)\s+([A-Za-z_]\w*)", re.MULTILINE | re.ASCII)
_GPU_MODULES: Final = frozenset({"torch", "jax", "tensorflow", "cupy", "chainer"})
NOTEBOOK_PACKAGES: Final = ("ipykernel", "nbconvert")


def init(files: Mapping[str, str], *, directory: str = "") -> str:
    """The text of a job.yaml.

    files: names in the directory, with the text of those that were read ("" for the others); worth
    reading: *.py, pyproject.toml, .python-version. directory: its name, the job's default name.
    """
    usable = sorted(name for name in files if _usable(name))
    command, packages = _command(usable)
    script = next((name for name in usable if command.endswith(shlex.quote(name))), "")
    modules = frozenset(_IMPORTS.findall(files.get(script, "")))
    name = names.default_job_name(f"{directory}/job.yaml", command)
    parts = (
        _HEAD,
        f"version: 1\nname: {_quoted(name)}\n",
        f"\n# A text for /bin/sh, or a list of arguments.\ncommand: {_quoted(command)}\n",
        _environment(usable, files, packages),
        _resources(modules),
        _TAIL,
    )
    return "".join(parts)


def _usable(name: str) -> bool:
    """Names that may stand in a command and in a terminal."""
    return bool(name) and not hidden(name) and TEMPLATE_MARK not in name and len(name) <= 200


def _quoted(text: str) -> str:
    """YAML takes JSON's texts; plain words stay plain."""
    plain = re.fullmatch(r"[A-Za-z][A-Za-z0-9_./ \-]*[A-Za-z0-9_]", text, re.ASCII)
    return text if plain and ": " not in text else json.dumps(text, ensure_ascii=False)


def _command(usable: list[str]) -> tuple[str, tuple[str, ...]]:
    """What to run, and the packages that running it needs."""
    scripts = [n for n in usable if n.endswith(".py") and n not in _SET_UP and len(n) > len(".py")]
    scripts = [n for n in scripts if not n.startswith(("test_", "-"))]
    shells = [n for n in usable if n.endswith(".sh") and not n.startswith("-")]
    notebooks = [n for n in usable if n.endswith(".ipynb") and not n.startswith("-")]
    for name in (*_FIRST_SCRIPTS, *_SHELLS):
        if name in usable:
            return f"{'python' if name.endswith('.py') else 'sh'} {name}", ()
    if scripts:
        return f"python {shlex.quote(scripts[0])}", ()
    if shells:
        return f"sh {shlex.quote(shells[0])}", ()
    if notebooks:
        run = "jupyter nbconvert --to notebook --execute --output-dir outputs"
        return f"{run} {shlex.quote(notebooks[0])}", NOTEBOOK_PACKAGES
    return "echo hello", ()


def _environment(usable: list[str], files: Mapping[str, str], packages: tuple[str, ...]) -> str:
    lines = ["\n# Built once from what is named here, then reused.", "env:"]
    pinned = _PYTHON.fullmatch(files.get(".python-version", ""))
    lines.append(f'  python: "{pinned[1]}"' if pinned else '  # python: "3.11"')
    if "pylock.toml" in usable and not packages:
        lines.append("  lock: pylock.toml")
    elif "requirements.txt" in usable:
        lines.append("  requirements: requirements.txt")
    elif _has_dependencies(files.get("pyproject.toml", "")):
        lines.append("  requirements: pyproject.toml  # its project.dependencies")
    elif not packages:
        lines.append("  # packages: [numpy>=2]")
    if packages:
        lines.append(f"  packages: [{', '.join(packages)}]")
    if "uv.lock" in usable and "pylock.toml" not in usable:
        lines.append("  # exact versions: `uv export --format pylock.toml -o pylock.toml`, then")
        lines.append("  # lock: pylock.toml  # instead of requirements and packages")
    return "\n".join(lines) + "\n"


def _has_dependencies(text: str) -> bool:
    import tomllib

    try:
        project = tomllib.loads(text).get("project", {})
    except (tomllib.TOMLDecodeError, RecursionError):
        return False
    found = project.get("dependencies") if isinstance(project, dict) else None
    return isinstance(found, list)


def _resources(modules: frozenset[str]) -> str:
    mpi = "mpi4py" in modules
    gpu = "  # gpus: 1          # the script seems to use one\n"
    lines = [
        "\n# Per node. Without `memory` the job is neither limited nor counted.\n",
        "resources:\n",
        "  nodes: 1\n",
        "  ranks: 2           # processes per node\n" if mpi else "",
        "  cpus: 1\n",
        "  # memory: 4GiB\n",
        gpu if modules & _GPU_MODULES else "  # gpus: 1\n",
        "launcher: mpi\n" if mpi else "",
    ]
    return "".join(lines)


_HEAD: Final = "# What to run: `zenkei run` starts it, `zenkei run --check` only reads it.\n"
_TAIL: Final = """
# retry: 2             # after failures of the job's own
# time_limit: 1.5h
# secrets: [WANDB_API_KEY]   # set with `zenkei secret set WANDB_API_KEY`
# matrix: {lr: [0.1, 0.01]}  # one member each; `${{ matrix.lr }}` in the command
outputs: outputs       # this directory becomes the result
"""
