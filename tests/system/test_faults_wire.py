"""Bytes that are no request: the daemon answers with an error or hangs up, and lives."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from random import Random

import pytest

from tests.system.faults_home import Home, a_home
from tests.system.test_faults_daemon import SEED

GOOD = (
    b"POST /v1/jobs?key=k HTTP/1.1\r\nhost: zenkei\r\nzenkei-protocol: 1\r\n"
    b"content-type: application/yaml\r\ncontent-length: 29\r\n\r\ncommand: 'true'\ncode: false\n\n"
)
CASES = [
    b"",
    b"\r\n\r\n",
    b"\0" * 4096,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\xaa" * 200,
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET http://[::1 HTTP/1.1\r\n\r\n",
    b"GET /v1/jobs/%00%ff%2e%2e HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET /v1/jobs?limit=\xff\xfe&cursor=%00 HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET " + b"/" * 100_000 + b" HTTP/1.1\r\n\r\n",
    b"GET /v1/jobs HTTP/1.1\r\n" + b"x: y\r\n" * 20_000 + b"\r\n",
    b"POST /v1/jobs HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
    b"POST /v1/jobs HTTP/1.1\r\ncontent-length: 99999999999999999999\r\n\r\n",
    b"POST /v1/jobs HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
    b"POST /v1/jobs HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nZZZ\r\n",
    b"POST /v1/jobs HTTP/1.1\r\ncontent-length: 4\r\n\r\n\xff\xfe\x00\x01",
    b"POST /v1/jobs HTTP/1.1\r\ncontent-type: application/json\r\ncontent-length: 6\r\n\r\n"
    + b"[" * 6,
    b"GET /v1/version HTTP/1.1\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    GOOD[:40],
]


@pytest.fixture(scope="module")
def home() -> Iterator[Home]:
    with a_home() as found:
        found.start()
        yield found
        found.until_still()
        found.end_checks()


def answer_to(home: Home, data: bytes) -> bytes:
    """Everything the daemon says until it hangs up, or has nothing to say to half a request."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(20)
        sock.connect(str(home.path / "zenkei.sock"))
        said = b""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            while piece := sock.recv(65536):
                said += piece
        return said


def is_decent(said: bytes) -> bool:
    return b"Traceback" not in said and b'File "' not in said and b" 500 " not in said[:20]


@pytest.mark.parametrize("data", CASES, ids=range(len(CASES)))
def test_bytes_that_are_no_request_are_refused_and_the_daemon_lives(home, data):
    said = answer_to(home, data)
    assert is_decent(said), said[:2000]
    assert home.newest.alive()
    assert home.client.get("/v1/health")["ok"] is True


def test_requests_with_bytes_changed_at_random_never_bring_it_down(home):
    rng = Random(SEED)
    for _ in range(400):
        data = bytearray(GOOD)
        for _ in range(rng.randint(1, 6)):
            at = rng.randrange(len(data))
            change = rng.randrange(3)
            if change == 0:
                data[at] = rng.randrange(256)
            elif change == 1:
                del data[at : at + rng.randint(1, 9)]
            else:
                data[at:at] = rng.randbytes(rng.randint(1, 9))
        said = answer_to(home, bytes(data))
        assert is_decent(said), (bytes(data), said[:2000])
    assert home.newest.alive()
    job = home.submit("echo still here")
    assert home.until_over(job) == "succeeded"
    assert "Traceback" not in home.log_text()
