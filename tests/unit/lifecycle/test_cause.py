"""The cause of a bad end in one line, and what to do."""

from __future__ import annotations

import itertools

import pytest

from zenkei.lifecycle import cause
from zenkei.lifecycle.symptoms import MEANINGS
from zenkei.model.job import Exit, StopReason

FAILED = StopReason.NONZERO_EXIT


@pytest.mark.parametrize(
    ("reason", "ended", "line"),
    [
        (
            FAILED,
            Exit(code=1, rank=3, node="node-2", ranks=8, symptom="cuda_out_of_memory"),
            "rank 3 on node-2 failed first: CUDA out of memory (exit code 1)",
        ),
        (
            FAILED,
            Exit(code=1, rank=0, node="n", symptom="import_error", detail="ImportError: x"),
            "an import failed: ImportError: x (exit code 1)",
        ),
        (FAILED, Exit(code=3, rank=0, node="n"), "exit code 3"),
        (FAILED, Exit(code=3, detail="bye"), "exit code 3, last line: bye"),
        (FAILED, Exit(signal=11, symptom="segfault"), "segmentation fault (signal SEGV)"),
        (FAILED, Exit(signal=9, symptom="killed"), "it was killed from outside (signal KILL)"),
        (FAILED, Exit(signal=40, symptom="signalled"), "a signal ended it (signal 40)"),
        (FAILED, Exit(code=1, symptom="python_error", detail="E: 1"), "E: 1 (exit code 1)"),
        (FAILED, Exit(), "it failed"),
        (
            StopReason.OUT_OF_MEMORY,
            Exit(signal=9, detail="used 300 MiB of 256 MiB"),
            "more memory was used than asked for: used 300 MiB of 256 MiB (signal KILL)",
        ),
        (StopReason.NODE_LOST, Exit(node="n1", detail="gone"), "its node was lost (n1): gone"),
        (StopReason.TIME_LIMIT, Exit(signal=15), "it reached its time limit"),
        (StopReason.COMPLETED, Exit(code=0), ""),
        (StopReason.USER_CANCEL, Exit(signal=15, symptom="segfault"), ""),
    ],
)
def test_the_line_says_who_what_and_how(reason: StopReason, ended: Exit, line: str) -> None:
    assert cause.line(reason, ended) == line


def test_it_is_one_line_of_bounded_length_whatever_the_program_printed() -> None:
    ended = Exit(code=1, symptom="python_error", detail="E: a\nb\t" + "x" * 10_000)
    line = cause.line(FAILED, ended)
    assert line.startswith("E: a b x")
    assert "\n" not in line
    assert len(line) < cause.MOST_CHARS + 50


@pytest.mark.parametrize("symptom", [*MEANINGS, "", "of a newer agent"])
def test_every_end_has_a_line_and_every_symptom_a_hint(symptom: str) -> None:
    for reason, code in itertools.product(StopReason, (None, 0, 7)):
        ended = Exit(code=code, symptom=symptom, rank=1, node="n", ranks=2)
        assert "\n" not in cause.line(reason, ended) + cause.hint(reason, ended)
    ended = Exit(code=1, symptom=symptom)
    assert cause.line(FAILED, ended)
    assert bool(cause.hint(FAILED, ended)) is (symptom in MEANINGS)
