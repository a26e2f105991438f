"""Two users on one machine: neither sees nor touches the other's daemon."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.cli_runs import a_place

pytestmark = pytest.mark.root
STRANGER = 54321
TALK = """
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(20)
s.connect(sys.argv[1])
try:
    s.sendall(b"GET /v1/jobs HTTP/1.1\\r\\nhost: x\\r\\n\\r\\n")
except BrokenPipeError:
    pass
data = b""
while piece := s.recv(65536):
    data += piece
sys.stdout.buffer.write(data)
"""


@pytest.fixture
def place():
    with a_place() as found:
        yield found


WHO = ["setpriv", f"--reuid={STRANGER}", f"--regid={STRANGER}", "--clear-groups"]


def as_stranger(*argv: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*WHO, *argv],
        env={"PATH": os.environ["PATH"], **environ},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_stranger_who_reaches_the_socket_is_refused_by_the_kernels_word(place):
    place.ok("ps")
    # open every door of the file system: only the peer's uid is left
    for folder in (place.home, place.home.parent):
        folder.chmod(0o755)
    (place.home / "zenkei.sock").chmod(0o666)
    done = as_stranger(_python(), "-c", TALK, str(place.home / "zenkei.sock"))
    head, _, body = done.stdout.partition("\n\n" if "\r" not in done.stdout else "\r\n\r\n")
    assert head.startswith("HTTP/1.1 403"), (done.stdout, done.stderr)
    assert json.loads(body)["error"]["code"] == "not-your-daemon"
    place.ok("ps")


def test_the_home_of_another_is_refused_by_the_client(place):
    place.ok("ps")
    place.home.parent.chmod(0o755)
    source = Path(__file__).resolve().parents[2] / "src"
    probe = as_stranger(_python(), "-c", f"open({str(source / 'zenkei/__init__.py')!r})")
    if probe.returncode:
        pytest.skip("another user cannot read the source tree here")
    done = as_stranger(
        _python(),
        "-m",
        "zenkei.cli.entry",
        "ps",
        ZENKEI_HOME=str(place.home),
        PYTHONPATH=str(source),
    )
    assert done.returncode == 5
    assert "uid 0" in done.stderr


def test_a_process_of_another_at_the_socket_is_not_trusted(place):
    place.ok("ps")
    place.ok("down")
    listen = (
        "import socket,sys,time\ns=socket.socket(socket.AF_UNIX)\ns.bind(sys.argv[1])\ns.listen()\n"
        "print('up', flush=True)\ns.accept()\nsys.stdin.read()\n"
    )
    place.home.parent.chmod(0o755)
    place.home.chmod(0o777)
    fake = subprocess.Popen(
        [*WHO, _python(), "-c", listen, str(place.home / "zenkei.sock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd="/",
    )
    assert fake.stdout is not None
    try:
        assert fake.stdout.readline() == b"up\n"
        place.home.chmod(0o700)
        done = place.run("ps")
        assert done.code == 5
        assert f"uid {STRANGER}" in done.stderr
    finally:
        fake.kill()
        fake.communicate(timeout=20)
        (place.home / "zenkei.sock").unlink()


def _python() -> str:
    """An interpreter that another user may run."""
    return shutil.which("python3", path="/usr/bin:/bin") or sys.executable
