"""Environments with real processes, a real index over HTTP, and builders that are killed."""

import base64
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import psutil
import pytest

from tests.unit.envs.world import World, fresh_world
from zenkei.model.data import Digest
from zenkei.model.errors import InvalidInput, Unavailable
from zenkei.model.job import EnvRequest

REALISE = """\
import json, sys
from pathlib import Path
from tests.unit.envs.world import World
world = World(home=Path(sys.argv[1]), index=Path(sys.argv[2]))
builder = world.builder(json.loads(sys.argv[4]))
print("begun", flush=True)
print(builder.realise(sys.argv[3], lambda line: print("said", line, flush=True)), flush=True)
"""


@pytest.fixture
def world(tmp_path: Path) -> World:
    return fresh_world(tmp_path)


def builder_process(
    world: World, digest: Digest, repo: Path, **environ: str
) -> subprocess.Popen[str]:
    places = [str(world.home), str(world.index)]
    argv = [sys.executable, "-c", REALISE, *places, digest, json.dumps(environ)]
    given = os.environ.get("PYTHONPATH", "")
    path = {**os.environ, "PYTHONPATH": f"{repo}:{repo / 'src'}:{given}"}
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=path, cwd=repo)


class Index:
    """A simple index over HTTP that can ask for a password, refuse, or keep silent."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.password = ""
        self.gate = Event()
        self.gate.set()
        self.asked = Event()
        self.paths: list[str] = []
        self.status = 200
        handler = partial(_Handler, self)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        self.host = f"127.0.0.1:{self._server.server_address[1]}"

    def url(self, user: str = "") -> str:
        return f"http://{user}{self.host}/simple"

    def close(self) -> None:
        self.gate.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, index: Index, *args) -> None:
        self.index = index
        super().__init__(*args)

    def log_message(self, *args) -> None:
        pass

    def do_GET(self) -> None:
        self.index.paths.append(self.path)
        if self.path.endswith(".whl"):
            self.index.asked.set()
            self.index.gate.wait(60)
        wanted = base64.b64encode(f"reader:{self.index.password}".encode()).decode()
        if self.index.password and self.headers.get("Authorization") != f"Basic {wanted}":
            self._answer(401, b"no")
        elif self.index.status != 200:
            self._answer(self.index.status, b"no")
        elif self.path.endswith(".whl"):
            self._answer(200, (self.index.folder / Path(self.path).name).read_bytes())
        else:
            name = self.path.strip("/").rpartition("/")[2]
            files = sorted(p.name for p in self.index.folder.glob(f"{name}-*.whl"))
            page = "".join(f'<a href="/files/{f}">{f}</a>' for f in files)
            self._answer(200 if files else 404, f"<html><body>{page}</body></html>".encode())

    def _answer(self, status: int, content: bytes) -> None:
        try:
            self.send_response(status)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        except OSError:
            pass  # who asked is gone


@pytest.fixture
def index(world: World) -> Iterator[Index]:
    index = Index(world.index)
    yield index
    index.close()


def online(index: Index, user: str = "", **more: str) -> dict[str, str]:
    """Settings of a person who uses this index alone."""
    own = {"UV_DEFAULT_INDEX": index.url(user), "UV_NO_INDEX": "", "UV_FIND_LINKS": ""}
    return {**own, "UV_HTTP_RETRIES": "0", "NO_PROXY": "127.0.0.1", **more}


def test_twenty_processes_that_ask_at_once_get_one_build(world: World, repo: Path):
    digest = world.builder().lock(EnvRequest(packages=("apple",)), world.said.append)
    processes = [builder_process(world, digest, repo) for _ in range(20)]
    said = [process.communicate(timeout=100)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 20
    assert sum("said environment ready" in text for text in said) == 1
    assert len({text.splitlines()[-1] for text in said}) == 1
    assert len(world.trees()) == 1


def test_a_builder_killed_in_the_middle_leaves_nothing_in_the_way(
    world: World, index: Index, repo: Path
):
    settings = online(index)
    builder = world.builder(settings)
    digest = builder.lock(EnvRequest(packages=("apple",)), world.said.append)
    builder.gc(set(), cache=True)
    index.asked.clear()
    index.gate.clear()
    process = builder_process(world, digest, repo, **settings)
    assert index.asked.wait(60)
    resolver = [p for p in psutil.Process(process.pid).children() if p.name() == "uv"]
    assert len(resolver) == 1
    assert len(world.trees()) == 1
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    psutil.wait_procs(resolver, timeout=10)
    assert not resolver[0].is_running()
    index.gate.set()
    path = Path(builder.realise(digest, world.said.append))
    assert world.trees() == [path.name]
    done = subprocess.run([path / "bin" / "apple"], capture_output=True, text=True, check=True)
    assert done.stdout == "1.0\n"


def test_collection_removes_what_a_dead_builder_left(world: World, index: Index, repo: Path):
    settings = online(index)
    builder = world.builder(settings)
    digest = builder.lock(EnvRequest(packages=("apple",)), world.said.append)
    builder.gc(set(), cache=True)
    index.asked.clear()
    index.gate.clear()
    process = builder_process(world, digest, repo, **settings)
    assert index.asked.wait(60)
    assert [row.state for row in builder.list()] == ["building"]
    builder.gc(set(), older_than_s=0)
    assert len(world.trees()) == 1, "a running build is left alone"
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    builder.gc(set(), older_than_s=0)
    assert world.trees() == []
    assert builder.list() == ()


@pytest.mark.parametrize("how", ["address", "variables", "netrc"])
def test_a_persons_credentials_are_used_and_show_nowhere(world: World, index: Index, how: str):
    index.password = "s3cr3t-w0rd"
    settings = online(index)
    if how == "address":
        settings = online(index, "reader:s3cr3t-w0rd@")
    elif how == "variables":
        settings |= {"UV_INDEX": f"corp={index.url()}", "UV_INDEX_CORP_USERNAME": "reader"}
        settings |= {"UV_INDEX_CORP_PASSWORD": "s3cr3t-w0rd"}
    else:
        netrc = world.home / "person" / ".netrc"
        netrc.write_text("machine 127.0.0.1 login reader password s3cr3t-w0rd\n")
        netrc.chmod(0o600)
    builder = world.builder(settings)
    world.realised(builder, "apple")
    with pytest.raises(InvalidInput) as caught:
        builder.lock(EnvRequest(packages=("no-such-thing",)), world.said.append)
    shown = "\n".join([*world.said, caught.value.message, caught.value.hint])
    kept = [p for p in world.home.rglob("*") if p.is_file() and "cache" not in p.parts]
    assert "s3cr3t-w0rd" not in shown
    found = [p.name for p in kept if b"s3cr3t-w0rd" in p.read_bytes()]
    assert found == ([".netrc"] if how == "netrc" else [])
    assert index.host.encode() not in (next((world.home / "envs" / "locks").iterdir())).read_bytes()


def test_an_index_that_refuses_is_not_asked_again_and_again(world: World, index: Index):
    index.password = "other-w0rd"
    builder = world.builder(online(index, "reader:wr0ng-w0rd@"))
    with pytest.raises(InvalidInput) as caught:
        builder.lock(EnvRequest(packages=("apple",)), world.said.append)
    assert caught.value.code == "index-denied"
    assert "wr0ng-w0rd" not in caught.value.message


def test_an_index_that_fails_or_is_not_there_is_worth_another_try(world: World, index: Index):
    index.status = 503
    with pytest.raises(Unavailable) as caught:
        world.builder(online(index)).lock(EnvRequest(packages=("apple",)), world.said.append)
    assert caught.value.code == "index-silent"
    nobody = online(index, UV_DEFAULT_INDEX="http://127.0.0.1:1/simple")
    with pytest.raises(Unavailable) as caught:
        world.builder(nobody).lock(EnvRequest(packages=("apple",)), world.said.append)
    assert caught.value.hint
    index.status = 200
    assert world.realised(world.builder(online(index)), "apple")[1].is_dir()


def test_a_silent_index_ends_with_the_time_limit(world: World, index: Index):
    settings = online(index)
    digest = world.builder(settings).lock(EnvRequest(packages=("apple",)), world.said.append)
    world.builder(settings).gc(set(), cache=True)
    index.gate.clear()
    with pytest.raises(Unavailable) as caught:
        world.builder(settings, timeout_s=3.0).realise(digest, world.said.append)
    assert caught.value.code == "environment-timeout"
    assert world.trees() == []


def test_a_package_that_must_be_built_sees_no_secret_of_the_daemon(world: World):
    backend = (
        "import os, pathlib, zipfile\n"
        "def build_wheel(folder, config=None, metadata=None):\n"
        "    names = ' '.join(sorted(os.environ))\n"
        "    out = pathlib.Path(folder, 'plum-1.0-py3-none-any.whl')\n"
        "    with zipfile.ZipFile(out, 'w') as z:\n"
        "        z.writestr('plum.py', f'NAMES = {names!r}')\n"
        "        d = 'plum-1.0.dist-info/'\n"
        "        about = 'Metadata-Version: 2.1\\nName: plum\\nVersion: 1.0\\n'\n"
        "        z.writestr(d + 'METADATA', about)\n"
        "        about = 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n'\n"
        "        z.writestr(d + 'WHEEL', about)\n"
        "        z.writestr(d + 'RECORD', '')\n"
        "    return out.name\n"
    )
    project = (
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "plum"\nversion = "1.0"\n'
    )
    source = world.home / "plum-1.0"
    source.mkdir()
    (source / "backend.py").write_text(backend)
    (source / "pyproject.toml").write_text(project)
    (source / "PKG-INFO").write_text("Metadata-Version: 2.2\nName: plum\nVersion: 1.0\n")
    target = world.index / "plum-1.0.tar.gz"
    subprocess.run(["tar", "czf", target, "-C", world.home, "plum-1.0"], check=True)
    builder = world.builder({"SECRET_OF_THE_DAEMON": "x"})
    digest = builder.lock(EnvRequest(packages=("plum",), build=True), world.said.append)
    tree = Path(builder.realise(digest, world.said.append))
    names = next(tree.glob("lib/python3.*/site-packages/plum.py")).read_text()
    assert "PATH" in names
    assert "SECRET_OF_THE_DAEMON" not in names
