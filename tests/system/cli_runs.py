"""One home and its daemon for the golden runs of the command line. Used by test_cli_*.py.

Every run is a real process without a terminal, with LANG=C and a private HOME: what a script sees.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.process_guard import RUN_DIR

UPDATE = "ZENKEI_UPDATE_GOLDEN"
GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "cli"
TIMEOUT_S = 60


@dataclass(frozen=True, kw_only=True)
class Done:
    """stdout and stderr as text; what is no UTF-8 is escaped."""

    argv: tuple[str, ...]
    code: int
    stdout: str
    stderr: str

    def json(self) -> Any:
        return json.loads(self.stdout)

    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.stdout.splitlines()]


@dataclass(frozen=True, kw_only=True)
class Place:
    """home: ZENKEI_HOME; work: where commands are typed."""

    home: Path
    work: Path
    environ: dict[str, str]

    def run(self, *argv: str, given: str | bytes = b"", **more: str) -> Done:
        """more: environment variables. given: standard input, empty unless said."""
        data = given.encode() if isinstance(given, str) else given
        done = subprocess.run(
            [sys.executable, "-m", "zenkei.cli.entry", *argv],
            cwd=self.work,
            env={**self.environ, **more},
            input=data,
            capture_output=True,
            check=False,
            timeout=TIMEOUT_S,
        )
        out, err = (b.decode("utf-8", "backslashreplace") for b in (done.stdout, done.stderr))
        return Done(argv=argv, code=done.returncode, stdout=out, stderr=err)

    def ok(self, *argv: str, given: str | bytes = b"") -> Done:
        """Must end with 0."""
        done = self.run(*argv, given=given)
        assert done.code == 0, (argv, done.code, done.stdout, done.stderr)
        return done

    def write(self, name: str, text: str) -> None:
        path = self.work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def until(self, job: str, state: str) -> None:
        """Until the job is in `state`; the daemon's own stream is waited on, no clock."""
        with subprocess.Popen(
            [sys.executable, "-m", "zenkei.cli.entry", "events", "-f", "--json", job],
            cwd=self.work,
            env=self.environ,
            stdout=subprocess.PIPE,
            text=True,
        ) as events:
            assert events.stdout is not None
            seen = [json.loads(line)["state"] for line in _up_to(events.stdout, state)]
            events.kill()
        assert state in seen, (job, state, seen)

    def until_explained(self, job: str) -> None:
        """Until the planner has said why the job waits; each look is a request to the daemon."""
        for _ in range(200):
            if self.ok("explain", "--json", job).json()["reason"] is not None:
                return
        raise AssertionError(f"nobody says why job {job} waits")


def _up_to(lines: Iterator[str], state: str) -> Iterator[str]:
    for line in lines:
        yield line
        if json.loads(line)["state"] == state:
            return


@contextmanager
def a_place() -> Iterator[Place]:
    """A fresh home and working directory; at the end nothing of it runs any more."""
    folder = Path(tempfile.mkdtemp(prefix="", dir=os.environ[RUN_DIR]))
    names = {"HOME": "user", "ZENKEI_HOME": "home", "XDG_RUNTIME_DIR": "run", "TMPDIR": "tmp"}
    for name in (*names.values(), "work"):
        (folder / name).mkdir(mode=0o700)
    kept = {k: v for k, v in os.environ.items() if k.startswith(("ZENKEI_TEST", "PYTHON"))}
    environ = {
        **kept,
        **{variable: str(folder / name) for variable, name in names.items()},
        "PATH": os.environ["PATH"],
        "LANG": "C",
        "TZ": "UTC",
        "COLUMNS": "100",
    }
    place = Place(home=folder / "home", work=folder / "work", environ=environ)
    try:
        yield place
    finally:
        down = place.run("down", "--jobs", "--yes")
        shutil.rmtree(folder, ignore_errors=True)
        assert down.code == 0, (down.stdout, down.stderr)


# -- goldens ---------------------------------------------------------------------------------------
_MASKS = [
    (r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+Z)?", "<time>"),
    (r"b3:[0-9a-f]{64}", "<digest>"),
    (r"\b\d+(\.\d+)? (B|KiB|MiB|GiB|TiB)\b", "<size>"),
    (r"\b\d+(ms|s|m\d\ds|h\d\dm|d\d\dh)\b", "<span>"),
    (r"\bpid \d+", "pid <pid>"),
    (r"\b\d{16}\b", "<us>"),
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<boot>"),
    (r"\bincident [0-9a-f]+", "incident <incident>"),
    (r"\battempt \d+/\d+\b", "attempt <attempt>"),
    # how far a job is when a follower arrives, and whether it had to wait, is a matter of speed
    (r"(zenkei: job \d+ \([^)]*\) is) \w+", r"\1 <state>"),
    (r"zenkei: job \d+ waits: .*\n", ""),
    (r"zenkei: job \d+: \d+/\d+ done.*\n", ""),
    (r"(all gone by +)\S+", r"\1<mechanism>"),
]


def masked(text: str, place: Place) -> str:
    """What differs from run to run is named; columns move with it, so runs of blanks are two."""
    for path, name in (
        (place.home, "<home>"),
        (place.work, "<work>"),
        (place.home.parent, "<tmp>"),
    ):
        text = text.replace(str(path), name)
    text = text.replace(f"by {_user()}", "by <user>")
    for pattern, name in _MASKS:
        text = re.sub(pattern, name, text)
    text = re.sub(r" {2,}", "  ", text)
    return "".join(line.rstrip() + "\n" for line in text.splitlines())


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"uid-{os.geteuid()}"


def shown(done: Done, place: Place) -> str:
    """A run as its golden has it."""
    parts = [f"$ zenkei {' '.join(done.argv)}\n", f"exit {done.code}\n"]
    for name, text in (("stdout", done.stdout), ("stderr", done.stderr)):
        if text:
            parts.append(f"--- {name}\n{masked(text, place)}")
    return "".join(parts)


def keys(value: object, path: str = "") -> set[str]:
    """Paths of all keys with the types of what stands there; lists by `[]`."""
    if isinstance(value, dict):
        found: set[str] = set()
        for key, inner in value.items():
            found |= keys(inner, f"{path}.{key}" if path else key)
        return found or {f"{path}: {{}}"}
    if isinstance(value, list):
        found = set().union(*(keys(inner, f"{path}[]") for inner in value)) if value else set()
        return found or {f"{path}: []"}
    kind = {"str": "text", "int": "number", "float": "number", "bool": "bool", "NoneType": "null"}
    return {f"{path}: {kind[type(value).__name__]}"}


def compare(name: str, text: str) -> None:
    """With the golden `name`, or write it if the environment says so."""
    path = GOLDEN / f"{name}.txt"
    if os.environ.get(UPDATE):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert path.is_file(), f"{path} is missing: run with {UPDATE}=1"
    assert text == path.read_text(encoding="utf-8"), f"if this is meant: {UPDATE}=1"
