"""Real frameworks over several hosts: a home whose daemon's nodes are network namespaces.

`a_cluster(home, hosts)` gives a `Cluster` on which examples are run as a person runs them. All its
homes share one store of environments, outside the repository: each is resolved and built once per
machine (PyTorch: half a minute and 5 GB), found unchanged by every later test, and used by as many
tests at a time as like. ZENKEI_TEST_CACHE moves it; removing the folder is always safe.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.testbeds.hosts import Hosts
from zenkei import spec as specs
from zenkei.data.blobs_dir import DirectoryBlobs
from zenkei.envs.builder import UvBuilder
from zenkei.model.data import Digest

TIMEOUT_S = 280
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def _cache() -> Path:
    own = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("ZENKEI_TEST_CACHE") or Path(own, "zenkei-tests"))


# when this is imported no test has hidden the person's folders yet
CACHE = _cache()


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """home: ZENKEI_HOME. hosts: cut them off and heal them."""

    home: Path
    hosts: Hosts

    def zenkei(self, *argv: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        """A command of the command line, ended or not, in `cwd`."""
        return subprocess.run(
            [sys.executable, "-m", "zenkei.cli.entry", *argv],
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def run(self, job: Path, *argv: str) -> subprocess.CompletedProcess[str]:
        """`zenkei run -f JOB`, in its folder, until it has ended."""
        return self.zenkei("run", "-f", job.name, *argv, cwd=job.parent)

    def show(self, job: str = "-") -> Any:
        done = self.zenkei("show", job, "--json", cwd=self.home)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def log(self, job: str = "-") -> str:
        return self.zenkei("logs", job, cwd=self.home).stdout

    def summary(self, job: str = "-") -> Any:
        """`summary.json` of the job's result."""
        target = self.home.parent / f"fetched-{job}"
        done = self.zenkei("result", "fetch", job, str(target), cwd=self.home)
        assert done.returncode == 0, done.stderr
        return json.loads((target / "summary.json").read_text("utf-8"))


@contextmanager
def a_cluster(home: Path, hosts: Hosts, **sizes: Any) -> Iterator[Cluster]:
    """home: an empty ZENKEI_HOME (fixture `zenkei_home`). sizes: of the nodes, for NodesConfig."""
    (home / "envs").symlink_to(shared_environments())
    hosts.nodes(**sizes).save(home / "nodes.json")
    cluster = Cluster(home=home, hosts=hosts)
    try:
        yield cluster
    finally:
        cluster.zenkei("down", "--jobs", "--yes", cwd=home)


class OneEnvironment:
    """A builder that has built everything already, for `LocalPlace.artefacts`."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def realise(self, lock: Digest, progress: Any) -> str:
        return self.folder


def environment(job: Path) -> OneEnvironment:
    """That of a job file, from the store that all tests share; built now if it is not there."""
    with tempfile.TemporaryDirectory() as blobs:
        builder = UvBuilder(
            root=shared_environments(), blobs=DirectoryBlobs(Path(blobs)), environ=dict(os.environ)
        )
        spec = specs.parse(job.read_bytes(), file=str(job), read=None)
        lock = builder.lock(spec.env, lambda line: None)
        return OneEnvironment(builder.realise(lock, lambda line: None))


def shared_environments() -> Path:
    """The store of environments that all homes of tests share."""
    store = CACHE / "envs"
    store.mkdir(parents=True, exist_ok=True, mode=0o700)
    return store


def changed(job: Path, folder: Path, **keys: Any) -> Path:
    """A copy of an example's folder in `folder`, with some keys of the job file replaced."""
    target = folder / job.parent.name
    target.mkdir(parents=True, exist_ok=True)
    for path in job.parent.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    document = {**yaml.safe_load(job.read_text("utf-8")), **keys}
    (target / job.name).write_text(yaml.safe_dump(document), encoding="utf-8")
    return target / job.name
