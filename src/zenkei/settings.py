"""Settings: the only file that reads the environment and settings files. Standard library only.

A setting is `ZENKEI_NAME` in the environment, else `name` in `$ZENKEI_HOME/settings.toml`, else its
default. Settings are a budget (DESIGN rule 15): each says why a default cannot do for everybody.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from zenkei.model.errors import InvalidInput

GIB = 1 << 30
MIB = 1 << 20


def _why(default: Any, why: str) -> Any:
    return field(default=default, metadata={"why": why})


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """All settings. `home` is only taken from the environment: it says where the file is."""

    home: Path
    database: str = _why("", "a team's server uses PostgreSQL; empty: SQLite in the home")
    log_level: str = _why("info", "what is noise in peace is needed in trouble")
    min_free_percent: float = _why(5.0, "small disks and huge disks fill differently")
    min_free_bytes: int = _why(2 * GIB, "below it nothing new starts")
    log_head_bytes: int = _why(64 * MIB, "how much of a job's first output is worth the disk")
    log_tail_bytes: int = _why(64 * MIB, "how much of a job's last output is worth the disk")
    max_code_bytes: int = _why(2 * GIB, "a larger working tree is usually a mistake")
    max_code_files: int = _why(200_000, "a larger working tree is usually a mistake")
    env_build_timeout_s: float = _why(3600.0, "slow links and large packages differ by site")
    worker_threads: int = _why(8, "how much of the machine the daemon may use for builds")

    data_cache_bytes: int = _why(100 * GIB, "how much of its disk a node may fill with datasets")
    datasets: str = _why("", "a directory or S3 bucket that many share; empty: one in the home")

    @property
    def dataset_store(self) -> str:
        """Location of the content of datasets."""
        return self.datasets or str(self.home / "datasets")

    @property
    def socket(self) -> Path:
        return self.home / "zenkei.sock"

    @property
    def lock(self) -> Path:
        return self.home / "state.lock"

    @property
    def database_url(self) -> str:
        return self.database or f"sqlite:///{self.home / 'db.sqlite3'}"

    @property
    def daemon_log(self) -> Path:
        return self.home / "daemon.log"

    @property
    def nodes_file(self) -> Path:
        return self.home / "nodes.json"


def home_directory(environ: Mapping[str, str]) -> Path:
    """ZENKEI_HOME, else the XDG state directory of this person."""
    if environ.get("ZENKEI_HOME"):
        return Path(environ["ZENKEI_HOME"]).expanduser().absolute()
    state = environ.get("XDG_STATE_HOME")
    base = Path(state) if state and os.path.isabs(state) else Path.home() / ".local" / "state"
    return base / "zenkei"


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the environment and the settings file. Raises InvalidInput that names the key."""
    environ = os.environ if environ is None else environ
    home = home_directory(environ)
    path = home / "settings.toml"
    known = {f.name: f for f in fields(Settings) if f.name != "home"}
    values: dict[str, Any] = {}
    for name, value in _file_values(path).items():
        if name not in known:
            raise _unknown(name, tuple(known), str(path))
        values[name] = _convert(name, value, known[name].default, str(path))
    for name, setting in known.items():
        text = environ.get(f"ZENKEI_{name.upper()}")
        if text is not None:
            values[name] = _convert(name, text, setting.default, f"ZENKEI_{name.upper()}")
    return Settings(home=home, **values)


def _file_values(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise InvalidInput(
            "bad-settings",
            f"the settings file {path} cannot be read: {error}",
            hint="it is TOML: name = value, one a line",
        ) from error


def _unknown(name: str, known: tuple[str, ...], where: str) -> InvalidInput:
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean `{near[0]}`? " if near else ""
    return InvalidInput(
        "unknown-setting",
        f"`{name}` is not a setting ({where})",
        hint=f"{hint}known: {', '.join(sorted(known))}",
    )


def _convert(name: str, value: Any, default: Any, where: str) -> Any:
    kind = type(default)
    try:
        if isinstance(value, bool) or (kind is not str and isinstance(value, str) and not value):
            raise ValueError
        return kind(value)
    except (TypeError, ValueError):
        raise InvalidInput(
            "bad-setting",
            f"setting `{name}` is {value!r}, which is not a {kind.__name__} ({where})",
            hint=f"the default is {default!r}",
        ) from None
