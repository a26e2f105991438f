"""Pipes become chunks: at line ends, in time, without secrets; progress bars as last states."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zenkei.agent.masking import MASK, Masker
from zenkei.agent.output import PATIENCE_US, PROGRESS_EVERY_US, Output
from zenkei.protocol import logs

START_US = 1_000_000_000


class Pipe:
    """An Output whose clock a test moves."""

    def __init__(self, *secrets: bytes) -> None:
        self.chunks: list[logs.Chunk] = []
        self.now_us = START_US
        self.output = Output(0, logs.STDERR, list(secrets), self.chunks.append)

    def say(self, data: bytes, after_us: int = 0) -> None:
        self.wait(after_us)
        self.output.feed(data, self.now_us)

    def wait(self, us: int) -> None:
        self.now_us += us
        self.output.flush(self.now_us)

    def end(self) -> None:
        self.output.close(self.now_us)

    @property
    def said(self) -> list[bytes]:
        return [chunk.data for chunk in self.chunks]


def test_chunks_end_at_line_ends():
    pipe = Pipe()
    pipe.say(b"one\ntw")
    pipe.say(b"o\nthree")
    pipe.end()
    assert pipe.said == [b"one\n", b"two\n", b"three"]


def test_an_unfinished_line_waits_a_tenth_of_a_second():
    pipe = Pipe()
    pipe.say(b"name? ")
    pipe.wait(PATIENCE_US - 1)
    assert pipe.said == []
    pipe.wait(1)
    assert pipe.said == [b"name? "]
    assert pipe.chunks[0].flags == logs.PARTIAL


def test_an_unfinished_line_is_shown_although_the_clock_was_put_back():
    pipe = Pipe()
    pipe.say(b"name? ")
    pipe.wait(-3600 * 1_000_000)
    assert pipe.said == [b"name? "]


@given(st.lists(st.binary(max_size=50).map(lambda data: data.replace(b"\r", b"")), max_size=20))
def test_without_carriage_returns_every_byte_is_kept(pieces):
    pipe = Pipe()
    for piece in pieces:
        pipe.say(piece, after_us=PATIENCE_US // 3)
    pipe.end()
    assert b"".join(pipe.said) == b"".join(pieces)


def test_line_ends_of_other_systems_are_kept():
    pipe = Pipe()
    pipe.say(b"one\r\ntwo\r\n")
    assert pipe.said == [b"one\r\ntwo\r\n"]


def test_a_progress_bar_is_shown_once_a_second_and_ends_with_its_last_state():
    pipe = Pipe()
    for percent in range(101):
        pipe.say(b"\r%d%%" % percent, after_us=PROGRESS_EVERY_US // 20)
    pipe.say(b"\nnext\n")
    assert pipe.said[-1] == b"\r100%\nnext\n"
    assert 5 <= len(pipe.chunks) <= 8
    assert all(chunk.flags & logs.PROGRESS for chunk in pipe.chunks[:-1])


def test_a_progress_bar_that_returns_after_its_text_keeps_its_last_state():
    pipe = Pipe()
    pipe.say(b"10%\r20%\r30%\r")
    pipe.say(b"\n")
    assert pipe.said == [b"\r30%\r\n"]


def test_carriage_returns_in_binary_data_are_kept():
    pipe = Pipe()
    pipe.say(b"\0a\rb\rc\n")
    assert pipe.said == [b"\0a\rb\rc\n"]


def test_the_last_line_is_remembered():
    pipe = Pipe()
    pipe.say(b"Traceback\nValueError: bad\n\n")
    assert pipe.output.last_line == b"ValueError: bad"


def test_a_rule_below_a_message_is_not_the_last_line():
    output = Output(0, logs.STDERR, [], lambda chunk: None)
    output.feed(b"-----\nno agent was found\n-----\n\0", 1)
    output.close(2)
    assert output.last_line == b"no agent was found"


def test_a_secret_cut_in_two_reads_with_a_pause_between_is_masked():
    pipe = Pipe(b"hunter2")
    pipe.say(b"it is hun")
    pipe.wait(PATIENCE_US)
    pipe.say(b"ter2!\n")
    assert b"".join(pipe.said) == b"it is ***!\n"


values = st.lists(st.sampled_from([b"abcd", b"abcde", b"bcda", b"aaaa", b"dcba"]), max_size=3)
texts = st.lists(st.sampled_from([b"a", b"b", b"c", b"d", b"e", b"\n", b"abcd"]), max_size=60)


@given(values, texts, st.integers(min_value=1, max_value=7))
def test_no_secret_is_ever_shown_wherever_reads_are_cut(secrets, words, step):
    text = b"".join(words)
    masker = Masker(secrets)
    shown = b"".join(masker.feed(text[at : at + step]) for at in range(0, len(text), step))
    shown += masker.close()
    assert not any(secret in shown for secret in secrets)
    assert secrets or shown == text


@given(texts)
def test_what_contains_no_secret_is_not_changed(words):
    text = b"".join(words)
    masker = Masker([b"zzzz"])
    assert masker.feed(text) + masker.close() == text


@pytest.mark.parametrize("value", [b"", b"1", b"abc"])
def test_values_too_short_to_be_secrets_are_not_masked(value):
    assert Masker([value]).feed(b"1abc") == b"1abc"


def test_the_final_newline_of_a_stored_secret_does_not_hide_it_from_masking():
    assert Masker([b"hunter2\n"]).feed(b"say hunter2 now\n") == b"say " + MASK + b" now\n"
