"""The files that travel: the agent as one zipapp, the SDK as a zip, both named by their digest.

Called once when an engine starts. The same source gives the same bytes. Sources are found through
the package's path, not imported: engines and the agent are strangers.
"""

from __future__ import annotations

import hashlib
import io
import os
import sys
import zipfile
from pathlib import Path

import zenkei

_MAIN = b"from zenkei.agent.__main__ import main\nmain()\n"
_STAMP = (2020, 1, 1, 0, 0, 0)


def ship_agent(folder: Path) -> Path:
    """The agent's zipapp, written unless it is there."""
    return _ship(folder, "agent", "pyz", ("protocol", "agent"), {"__main__.py": _MAIN})


def ship_sdk(folder: Path) -> Path:
    """What a job's Python finds as `zenkei`, and runs when it starts (`sdk.sitecustomize`)."""
    root = Path(zenkei.__path__[0])
    start = {
        "sitecustomize.py": (root / "sdk" / "sitecustomize.py").read_bytes(),
        "_zenkei_start.py": (root / "sdk" / "starthook.py").read_bytes(),
    }
    return _ship(folder, "sdk", "zip", ("protocol", "sdk"), start)


def _ship(
    folder: Path, name: str, suffix: str, rooms: tuple[str, ...], extra: dict[str, bytes]
) -> Path:
    root = Path(zenkei.__path__[0])
    files = {"zenkei/__init__.py": (root / "__init__.py").read_bytes(), **extra}
    for room in rooms:
        for path in sorted((root / room).rglob("*.py")):
            files[f"zenkei/{path.relative_to(root).as_posix()}"] = path.read_bytes()
    data = _zip(files)
    target = folder / f"{name}-{hashlib.sha256(data).hexdigest()[:16]}.{suffix}"
    if not target.exists():
        draft = target.with_suffix(f".{os.getpid()}")
        draft.write_bytes(data)
        draft.replace(target)
    return target


def _zip(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            archive.writestr(zipfile.ZipInfo(name, _STAMP), files[name])
    return buffer.getvalue()


def ship_python(folder: Path) -> None:
    """`python` for jobs that ask for no environment: the interpreter under zenkei's own."""
    folder.mkdir(exist_ok=True, mode=0o700)
    real = os.path.realpath(sys.executable)
    for name in ("python", "python3"):
        link = folder / name
        if not link.is_symlink() or os.readlink(link) != real:
            link.unlink(missing_ok=True)
            link.symlink_to(real)
