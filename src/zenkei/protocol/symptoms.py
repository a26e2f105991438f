"""What the last output of a rank tells of why it failed.

Called by `agent.diagnosis` on the node, and by `engines` and `lifecycle` for the names. What
follows from a symptom is decided in `lifecycle.symptoms`. The table has three kinds:
- SURE: words that nothing but this cause prints. The last ones near the end count, wherever they
  stand: what was built on top of them (a RuntimeError, a summary) says less.
- LAST: words that programs also print when all is well (a package that is not there, a file that
  need not be). They count only as what the program said last.
- CONSEQUENCE: what is seen of another rank's failure. If another rank has a cause, that is it.

Words are compared as bytes, almost without regular expressions: 64 KiB cost 0.2 ms if they tell
something at their end, 3 ms if they do not. On one line the first symptom of the table counts.
"""

from __future__ import annotations

import re
import signal
from typing import NamedTuple

from zenkei.protocol.symptom_table import CONSEQUENCE, SURE, TABLE, Symptom, Words

NEAR_LINES = 80
"""How far from the end words count as the end: summaries and native stacks follow the cause."""
LINE_BYTES = 1000
"""More of a line is not looked at where lines are looked at one by one."""
NOT_EXECUTABLE = 126
NOT_FOUND = 127
SHELL_SIGNAL = 128
"""A shell says 128 + number for a program that a signal ended."""


class Found(NamedTuple):
    """line: the one that tells it; empty if a signal or an exit code does. name: may be empty."""

    name: str = ""
    line: bytes = b""


BY_NAME = {symptom.name: symptom for symptom in TABLE}
NAMES = tuple(BY_NAME)

SIGNALS = {
    signal.SIGSEGV: "segfault",
    signal.SIGBUS: "bus_error",
    signal.SIGILL: "illegal_instruction",
    signal.SIGKILL: "killed",
}
LATE_SIGNALS = {signal.SIGABRT: "aborted", signal.SIGTERM: "terminated"}
"""These follow words that tell more: a library that gives up aborts."""
CODES = {NOT_FOUND: "command_not_found", NOT_EXECUTABLE: "not_executable"}

_CHAINED = (b"During handling of the above exception", b"The above exception was the direct cause")
_PREFIX = re.compile(rb"^\s*(?:\[[\w ,.:-]{1,40}\](?:<std\w+>)?:?\s*)?")
_EXCEPTION = re.compile(rb"^[A-Za-z_][\w.]*(?:Error|Exception|Timeout|Warning)\b(?::|$)")


def is_cause(name: str) -> bool:
    """False for what is only seen of another rank's failure, for nothing and for the unknown."""
    symptom = BY_NAME.get(name)
    return symptom is not None and symptom.kind != CONSEQUENCE


def is_consequence(name: str) -> bool:
    """True only for what is seen of another rank's failure."""
    symptom = BY_NAME.get(name)
    return symptom is not None and symptom.kind == CONSEQUENCE


def is_sure(name: str) -> bool:
    """True for words that nothing but this cause prints."""
    symptom = BY_NAME.get(name)
    return symptom is not None and symptom.kind == SURE


def find(text: bytes, code: int | None = None, number: int = 0) -> Found:
    """The symptom that tells most. text: a rank's last output. number: the signal that ended it."""
    near = _near(text)
    if code is not None and code > SHELL_SIGNAL:
        number = code - SHELL_SIGNAL
    found = _sure(near)
    if not found.name and number in SIGNALS:
        found = Found(SIGNALS[signal.Signals(number)])
    if not found.name and code in CODES:
        found = Found(CODES[code], _last_line(near))
    found = found if found.name else _said_last(near)
    if not found.name and number in LATE_SIGNALS:
        found = Found(LATE_SIGNALS[signal.Signals(number)])
    found = found if found.name else _sure(text)
    if not found.name and number and code is None:
        found = Found("signalled")
    return found


def _near(text: bytes) -> bytes:
    at = len(text)
    for _ in range(NEAR_LINES + 1):
        at = text.rfind(b"\n", 0, at)
        if at < 0:
            return text
    return text[at + 1 :]


def _last_line(text: bytes) -> bytes:
    return text.rstrip().rpartition(b"\n")[2].strip()


def _sure(text: bytes) -> Found:
    """The SURE words that stand last."""
    best, best_at = Found(), -1
    for symptom in TABLE:
        if symptom.kind != SURE:
            continue
        for words in symptom.words:
            at = _last_at(text, words)
            # the place of the line, not of the word: on one line the table's order counts
            if at > best_at:
                best, best_at = Found(symptom.name, _line_at(text, at)), at
    return best


def _last_at(text: bytes, words: Words) -> int:
    """Where the last line with all these words begins; -1 if there is none."""
    first, more = (words, ()) if isinstance(words, bytes) else (words[0], words[1:])
    at = len(text)
    while True:
        at = text.rfind(first, 0, at)
        if at < 0:
            return -1
        start = text.rfind(b"\n", 0, at) + 1
        if all(word in _line_at(text, start) for word in more):
            return start
        at = start


def _line_at(text: bytes, start: int) -> bytes:
    end = text.find(b"\n", start)
    return text[start : len(text) if end < 0 else end].strip()


def _said_last(near: bytes) -> Found:
    """From the end backwards: a symptom that counts only there, or any exception."""
    general = Found()
    chained = False
    for line in reversed(near.split(b"\n")):
        body = _PREFIX.sub(b"", line[:LINE_BYTES], count=1).rstrip()
        if not body:
            continue
        chained = chained or body.startswith(_CHAINED)
        symptom = _of_line(body)
        if general.name:
            # what another rank's failure looked like here, before it was raised again
            if chained and symptom is not None and symptom.kind == CONSEQUENCE:
                return Found(symptom.name, body)
        elif symptom is not None:
            return Found(symptom.name, body)
        elif _EXCEPTION.match(body):
            general = Found("python_error", body)
    return general


def _of_line(line: bytes) -> Symptom | None:
    for symptom in TABLE:
        if symptom.kind == SURE:
            continue
        if symptom.starts and line.startswith(symptom.starts):
            return symptom
        for words in symptom.words:
            if words in line if isinstance(words, bytes) else all(w in line for w in words):
                return symptom
    return None
