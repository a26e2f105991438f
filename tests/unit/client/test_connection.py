"""HTTP by hand: bodies in all forms, cut anywhere; and event streams cut anywhere."""

import contextlib
import socket
import threading

import pytest

from zenkei.client import connection
from zenkei.client.client import segment
from zenkei.client.failure import Disconnected, Failure, NotRunning, of_answer
from zenkei.client.sse import Message, messages


def answer_to(raw: bytes, piece: int = 7):
    """The answer that a client makes of `raw`, sent in small pieces before the connection ends."""
    ours, theirs = socket.socketpair()

    def talk():
        # a client that has seen enough hangs up in the middle
        with theirs, contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for at in range(0, len(raw), piece):
                theirs.sendall(raw[at : at + piece])

    threading.Thread(target=talk).start()
    ours.settimeout(10)
    return connection.Answer(ours)


def test_a_body_with_a_length_is_read_to_its_end():
    answer = answer_to(b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\nX-Y: z\r\n\r\nhello world")
    assert (answer.status, answer.headers["x-y"], answer.body()) == (200, "z", b"hello world")
    answer.close()


def test_a_chunked_body_is_joined():
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    raw = head + b"5\r\nhello\r\n6;x=1\r\n world\r\n0\r\n\r\n"
    answer = answer_to(raw)
    assert answer.body() == b"hello world"
    answer.close()


def test_a_body_without_a_length_ends_with_the_connection():
    answer = answer_to(b"HTTP/1.1 200 OK\r\n\r\nhello")
    assert answer.body() == b"hello"
    answer.close()


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n50\r\nhello",
    ],
)
def test_a_body_that_is_cut_off_is_never_taken_for_whole(raw):
    answer = answer_to(raw)
    with pytest.raises(Disconnected):
        answer.body()
    answer.close()


def test_a_daemon_that_dies_before_it_answers_is_noticed():
    with pytest.raises(Disconnected):
        answer_to(b"HTTP/1.1 200 OK\r\nContent-Le")


@pytest.mark.parametrize("raw", [b"SSH-2.0-OpenSSH\r\n\r\n", b"HTTP/1.1 ok\r\n\r\n"])
def test_what_speaks_no_http_is_not_a_daemon(raw):
    with pytest.raises(Failure, match="does not speak HTTP"):
        answer_to(raw)


def test_a_chunk_without_a_size_is_no_answer():
    answer = answer_to(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n")
    with pytest.raises(Failure, match="does not speak HTTP"):
        answer.body()
    answer.close()


def test_a_head_without_an_end_is_not_read_for_ever():
    with pytest.raises(Failure, match="no end"):
        answer_to(b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 20_000, piece=4096)


def test_nobody_at_the_socket_is_told_apart(short_tmp):
    with pytest.raises(NotRunning):
        connection.connect(str(short_tmp / "none.sock"), timeout_s=1)


EVENTS = b'id: 1\nevent: a\ndata: {"x":1}\n\n: alive\n\nevent: b\ndata: 2\n\n'


@pytest.mark.parametrize("piece", [1, 2, 3, 5, 100])
def test_events_are_found_however_the_stream_is_cut(piece):
    pieces = [EVENTS[at : at + piece] for at in range(0, len(EVENTS), piece)]
    assert list(messages(pieces)) == [Message("a", '{"x":1}', "1"), Message("b", "2", "")]


def test_an_event_that_was_cut_off_is_not_delivered():
    assert list(messages([EVENTS[:-1]])) == [Message("a", '{"x":1}', "1")]


def test_paths_are_quoted_byte_by_byte():
    assert segment("a/b c\udcff%") == "a%2Fb%20c%FF%25"


@pytest.mark.parametrize(
    ("status", "code"), [(400, 2), (404, 4), (403, 5), (409, 6), (503, 75), (500, 70), (418, 70)]
)
def test_the_exit_code_belongs_to_the_error(status, code):
    assert of_answer(status, {"error": {"code": "x", "message": "m"}}).exit_code == code
    assert of_answer(status, ["no error body"]).exit_code == code
