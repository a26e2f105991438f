"""Why an attempt failed, from what its ranks said last; and patterns that never come to an end."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from zenkei.agent import diagnosis, groups
from zenkei.agent.attempt import Attempt, Cause
from zenkei.agent.diagnosis import ABSENT, FOUND, SLOW, UNTRIED, WRONG
from zenkei.agent.output import TAIL_BYTES, Output, Tail
from zenkei.protocol import launch, logs, names, records

OOM = b"torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.\n"
LOST = b"RuntimeError: [pair.cc:534] Connection closed by peer [10.0.0.2]:52100\n"
HOSTILE = "(a+)+$"
LONG = b"a" * 60 + b"!\n"


@pytest.fixture
def attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Attempt:
    monkeypatch.chdir(tmp_path)
    document = launch.Launch(
        attempt="7/1", node="n1", node_rank=0, nodes=2, tree="t", argv=("x",), ranks=2
    )
    records.make(names.SPOOL_FILE)
    journal = records.Journal(names.SPOOL_FILE, attempt="7/1", node=0)
    return Attempt(document, journal, groups.Group(groups.Places(), "t"), {})


def tail(before: bytes, after: bytes = b"") -> Tail:
    """What a rank wrote before and after the ranks were stopped."""
    made = Tail([])
    made.add(logs.STDERR, before)
    made.mark()
    made.add(logs.STDERR, after)
    return made


def explained(attempt: Attempt, tails: dict[int, Tail], **cause: Any) -> Cause:
    """After rank 0 ended with code 1, or as `cause` says."""
    first = Cause("nonzero_exit", code=1, rank=0)._replace(**cause)
    attempt.blame(first)
    ends = {first.rank: first} if first.rank >= 0 else {}
    return diagnosis.explain(attempt, first, tails, ends)


def test_the_failing_rank_s_own_words_come_first(attempt: Attempt) -> None:
    said = explained(attempt, {0: tail(b"step 1\n" + OOM), 1: tail(b"ECC\n" + LOST)})
    assert (said.rank, said.symptom) == (0, "cuda_out_of_memory")
    assert said.detail == OOM.decode().strip()
    assert said.tail == ("step 1", OOM.decode().strip())


def test_a_rank_that_only_lost_its_peer_gives_way_to_the_one_that_says_why(
    attempt: Attempt,
) -> None:
    said = explained(attempt, {0: tail(LOST), 1: tail(OOM, b"Terminated\n")})
    assert (said.rank, said.symptom, said.code) == (1, "cuda_out_of_memory", 1)


def test_what_a_rank_says_when_it_is_stopped_is_no_cause(attempt: Attempt) -> None:
    said = explained(attempt, {0: tail(LOST), 1: tail(b"step 5\n", OOM)})
    assert (said.rank, said.symptom) == (0, "connection_lost")


def test_an_exception_that_another_rank_survived_is_no_cause(attempt: Attempt) -> None:
    survived = b"KeyError: 'x'\n" + b"".join(b"step %d\n" % n for n in range(10))
    said = explained(attempt, {0: tail(LOST), 1: tail(survived)})
    assert (said.rank, said.symptom) == (0, "connection_lost")


def test_a_node_that_was_told_to_stop_shows_what_its_rank_was_dying_of(attempt: Attempt) -> None:
    tails = {2: tail(b"step 1\n"), 3: tail(OOM)}
    said = explained(attempt, tails, rank=-1, code=None, signal=15)
    assert (said.rank, said.symptom) == (3, "cuda_out_of_memory")


def test_a_rank_that_mpiexec_ended_is_known_by_its_words(attempt: Attempt) -> None:
    words = b"application called MPI_Abort(MPI_COMM_WORLD, 7) - process 1\n"
    said = explained(attempt, {1: tail(words)}, reason="launch_failed", code=None, rank=1)
    assert (said.reason, said.symptom) == ("nonzero_exit", "mpi_abort")
    silent = explained(attempt, {1: tail(b"")}, reason="launch_failed", code=None, rank=1)
    assert (silent.reason, silent.symptom) == ("launch_failed", "")


def test_the_kernel_s_word_about_memory_needs_no_words_of_the_rank(attempt: Attempt) -> None:
    said = explained(attempt, {0: tail(b"")}, reason="out_of_memory", code=None, signal=9)
    assert said.symptom == "memory_limit"


@pytest.mark.parametrize("reason", ["preempted", "user_cancel", "completed"])
def test_an_end_that_somebody_wanted_is_not_diagnosed(attempt: Attempt, reason: str) -> None:
    said = explained(attempt, {0: tail(OOM)}, reason=reason)
    assert (said.symptom, said.tail) == ("", ())


def test_the_record_stays_small_whatever_is_printed(attempt: Attempt) -> None:
    for text in (b"x" * 100_000, "寿限無".encode() * 5000, b"\x00\xff\n" * 9999, b"\n" * 9999):
        lines = diagnosis.last_lines(text)
        assert len(lines) <= diagnosis.TAIL_LINES
        assert len(json.dumps(lines)) <= diagnosis.TAIL_CHARS + 100


def test_the_last_lines_are_the_last_that_say_something() -> None:
    text = b"".join(b"line %d\n\n" % n for n in range(20)) + b" 10%\r 50%\r100%\n"
    assert diagnosis.last_lines(text) == (*(f"line {n}" for n in range(11, 20)), "100%")


# -- the tail ----------------------------------------------------------------------------------


def test_a_tail_holds_the_newest_output_of_both_streams_in_order() -> None:
    kept = Tail([])
    for n in range(20_000):
        kept.add(logs.STDOUT if n % 2 else logs.STDERR, b"line %d\n" % n)
    text = kept.text()
    assert TAIL_BYTES - 20 < len(text) <= TAIL_BYTES
    assert text.endswith(b"line 19998\nline 19999\n")


def test_an_open_line_of_one_stream_does_not_swallow_the_other_s() -> None:
    kept = Tail([])
    kept.add(logs.STDOUT, b"loading ...")
    kept.add(logs.STDERR, b"KeyError: 'x'\n")
    assert kept.text() == b"loading ...\nKeyError: 'x'\n"


def test_secrets_do_not_reach_the_tail_and_moving_bars_do_not_fill_it() -> None:
    kept = Tail([])
    output = Output(0, logs.STDERR, [b"hunter22"], lambda chunk: None, kept)
    for n in range(1000):
        output.feed(b"\r%d%%" % n, n * 2_000_000)
        output.flush(n * 2_000_000 + 1_500_000)
    output.feed(b"\npassword hunter22 refused\n", 3_000_000_000)
    output.close(3_000_000_000)
    assert kept.text() == b"\r999%\npassword *** refused\n"


def test_colours_do_not_hide_what_a_rank_died_of(attempt: Attempt) -> None:
    words = (
        b"\x1b[1;31mModuleNotFoundError\x1b[0m: \x1b]8;;http://x\x07No module named 'foo'\x1b[0m\n"
    )
    said = explained(attempt, {0: tail(b"step 1\n" + words + b"\x1b[0m\n")})
    assert said.symptom == "import_error"
    assert said.detail == "ModuleNotFoundError: No module named 'foo'"
    assert said.tail == ("step 1", said.detail)


def test_a_secret_that_colours_divided_is_masked_where_they_are_taken_out() -> None:
    kept = Tail([b"hunter22"])
    output = Output(0, logs.STDERR, [b"hunter22"], lambda chunk: None, kept)
    output.feed(b"ValueError: \x1b[33mhunt\x1b[36mer22\x1b[0m is wrong\n", 1)
    assert kept.text() == b"ValueError: *** is wrong\n"
    assert output.last_line == b"ValueError: *** is wrong"


# -- patterns ----------------------------------------------------------------------------------


def test_patterns_are_looked_for_in_the_output_of_every_rank() -> None:
    answers = diagnosis.search(("no license", "", "^step [0-9]+$", "["), [b"x\n", b"step 12\n"])
    assert answers == ABSENT + ABSENT + FOUND + WRONG


def test_a_pattern_that_never_ends_is_cut_off_and_the_others_still_answer() -> None:
    begin = time.process_time() + sum(os.times()[2:4])
    answers = diagnosis.search((HOSTILE, "a!", HOSTILE, "a!"), [LONG])
    spent_s = time.process_time() + sum(os.times()[2:4]) - begin
    assert answers == SLOW + FOUND + SLOW + UNTRIED
    assert spent_s < diagnosis.SLOW_PATTERNS * diagnosis.PATTERN_CPU_S + 0.5


def test_a_hostile_pattern_is_named_in_the_log_and_counts_as_not_found(attempt: Attempt) -> None:
    attempt.document = attempt.document._replace(patterns=("", HOSTILE, "a!"))
    said = explained(attempt, {0: tail(LONG)})
    attempt.close()
    assert said.matched == (2,)
    written = b"".join(p.read_bytes() for p in Path(names.LOG_DIR).iterdir())
    assert b"pattern of retry rule 2 (`(a+)+$`) took longer than 0.2 s" in written
