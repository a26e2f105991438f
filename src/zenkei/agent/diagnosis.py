"""Why the attempt failed on this node, from the last output of its ranks.

Called by the supervisor once, when all ranks have ended. Promises:
- the failing rank's own output counts whole; that of the others only as far as it was written
  before they were stopped, and only where the failing rank shows no more than a consequence;
- the job's own patterns are tried in a child with little time, so that a hostile one costs at most
  SLOW_PATTERNS * PATTERN_CPU_S; it is named in the log and counts as not matching;
- what is kept (`tail`) is small, and its secrets were masked when it was read.
Cost, measured with 8 ranks of 64 KiB on a busy core: 2 ms where the output tells something, 3 ms
where it does not, 5 ms where all ranks are looked at, 10 ms more with three patterns. A node whose
ranks ended well pays nothing.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import time

from zenkei.agent import kernel
from zenkei.agent.attempt import Attempt, Cause
from zenkei.agent.output import MAX_DETAIL, Tail
from zenkei.protocol import logs, symptoms

OWN = ("nonzero_exit", "out_of_memory", "launch_failed")
"""Reasons for which the ranks' words matter; the others come from outside."""
SILENT = ("completed", "user_cancel", "user_hold", "preempted", "resized", "budget_exhausted")
TAIL_LINES = 10
TAIL_CHARS = 2048
LAST_LINES = 5
"""Of a rank that was stopped: only so near to its end is an exception what it was dying of."""
PATTERN_CPU_S = 0.2
READ_ONLY = "Read-only file system"
SLOW_PATTERNS = 2
PATIENCE_S = 5.0
"""All patterns together, by the clock: on a machine that is busy otherwise."""


def explain(
    attempt: Attempt, cause: Cause, tails: dict[int, Tail], ends: dict[int, Cause]
) -> Cause:
    """The cause with symptom, matched patterns, last lines, and the rank they speak of.

    ends: how ranks ended, by rank. A cause without a rank is mpiexec's, or an order to stop.
    """
    if cause.reason in SILENT or cause.symptom:
        return cause
    blamed = attempt.cause.rank if attempt.cause is not None else -1
    if cause.reason in OWN:
        cause = _of_data(attempt, _root(cause, blamed, tails, ends))
        cause = cause._replace(matched=_matched(attempt, tails))
    shown = tails.get(cause.rank if cause.rank >= 0 else logs.NO_RANK)
    return cause if shown is None else cause._replace(tail=last_lines(shown.text()))


def _root(cause: Cause, blamed: int, tails: dict[int, Tail], ends: dict[int, Cause]) -> Cause:
    if cause.reason == "out_of_memory":
        return cause._replace(symptom="memory_limit")
    found = symptoms.Found()
    own = tails.get(blamed if blamed >= 0 else logs.NO_RANK)
    told_to_stop = blamed < 0 and own is None
    if not told_to_stop:
        text = b"" if own is None else own.text()
        found = symptoms.find(text, cause.code, cause.signal)
    if told_to_stop or blamed < 0 or symptoms.is_consequence(found.name):
        for rank in sorted(tails):
            evidence = _evidence(tails[rank]) if rank not in (blamed, logs.NO_RANK) else None
            if evidence is not None:
                return _blame(cause, rank, evidence, ends)
    return _told(cause, found)


def _of_data(attempt: Attempt, cause: Cause) -> Cause:
    """A file that cannot be written because it is a dataset's: no disk has failed."""
    data = attempt.document.data
    if cause.symptom != "input_output" or data is None or READ_ONLY not in cause.detail:
        return cause
    if any(mount.at in cause.detail for mount in data.mounts):
        return cause._replace(symptom="dataset_written")
    return cause


def _evidence(tail: Tail) -> symptoms.Found | None:
    """A cause in what a rank had written before it was stopped."""
    text = tail.text(marked=True)
    found = symptoms.find(text)
    if not found.line or not symptoms.is_cause(found.name):
        return None
    if symptoms.is_sure(found.name):
        return found
    ends = text.rstrip().splitlines()[-LAST_LINES:]
    return found if any(found.line in line for line in ends) else None


def _blame(cause: Cause, rank: int, evidence: symptoms.Found, ends: dict[int, Cause]) -> Cause:
    """It was another rank. That one's exit code if it chose one, else the first that was seen."""
    end = ends.get(rank)
    if end is not None and end.code:
        cause = cause._replace(code=end.code, signal=0)
    return _told(cause._replace(rank=rank, detail=""), evidence)


def _told(cause: Cause, found: symptoms.Found) -> Cause:
    detail = found.line.decode("utf-8", "replace")[:MAX_DETAIL] or cause.detail
    # mpiexec ends ranks before they can tell how they ended: their words say that they did run
    spoke = cause.reason == "launch_failed" and found.name and cause.rank >= 0
    reason = "nonzero_exit" if spoke else cause.reason
    return cause._replace(reason=reason, symptom=found.name, detail=detail)


def last_lines(text: bytes) -> tuple[str, ...]:
    """At most TAIL_LINES lines that say something, and TAIL_CHARS as the record writes them."""
    found: list[str] = []
    left = TAIL_CHARS
    for line in reversed(text.split(b"\n")):
        shown = line.rpartition(b"\r")[2] if not line.endswith(b"\r") else line[:-1]
        said = shown.rstrip().decode("utf-8", "replace")
        if not said.strip():
            continue
        said = said[:left]
        left -= len(json.dumps(said)) + 1
        if left < 0:
            break
        found.append(said)
        if len(found) == TAIL_LINES:
            break
    return tuple(reversed(found))


# -- the job's own patterns ------------------------------------------------------------------------


def _matched(attempt: Attempt, tails: dict[int, Tail]) -> tuple[int, ...]:
    """Places of the patterns that are found in the last output of any rank."""
    patterns = attempt.document.patterns
    if not any(patterns):
        return ()
    answers = search(patterns, [tails[rank].text() for rank in sorted(tails)])
    for place, answer in enumerate(answers):
        if answer in _COMPLAINTS:
            text = f"pattern of retry rule {place + 1} (`{patterns[place][:100]}`)"
            attempt.remark(f"the {text} {_COMPLAINTS[answer]} and counts as not found")
    return tuple(place for place, answer in enumerate(answers) if answer == FOUND)


FOUND = "1"
ABSENT = "0"
WRONG = "x"
SLOW = "s"
UNTRIED = "u"
_COMPLAINTS = {
    WRONG: "is no regular expression for this Python",
    SLOW: f"took longer than {PATTERN_CPU_S:g} s",
    UNTRIED: "was not tried, because others took too long,",
}


def search(patterns: tuple[str, ...], texts: list[bytes]) -> str:
    """One letter per pattern: FOUND, ABSENT (also for an empty one), WRONG, SLOW or UNTRIED."""
    deadline = time.monotonic() + PATIENCE_S
    answers = ""
    while len(answers) < len(patterns):
        if answers.count(SLOW) >= SLOW_PATTERNS or time.monotonic() >= deadline:
            return answers + UNTRIED * (len(patterns) - len(answers))
        answers += _ask(patterns[len(answers) :], texts, deadline)
        if len(answers) < len(patterns):
            answers += SLOW
    return answers


def _ask(patterns: tuple[str, ...], texts: list[bytes], deadline: float) -> str:
    """The answers of a child, up to the pattern that it died of."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        _try(patterns, texts, write_end)
    os.close(write_end)
    answers = b""
    poll = select.poll()
    poll.register(read_end, select.POLLIN)
    while poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        got = os.read(read_end, 4096)
        if not got:
            break
        answers += got
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(read_end)
    return answers.decode("ascii")


def _try(patterns: tuple[str, ...], texts: list[bytes], answers: int) -> None:
    """In the child; never returns. A pattern that takes too long ends it: nobody handles SIGPROF.

    A regular expression does not let Python's own handlers run, so only that can end one.
    """
    try:
        kernel.die_with_parent(signal.SIGKILL)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        said = [text.decode("utf-8", "replace") for text in texts]
        for pattern in patterns:
            signal.setitimer(signal.ITIMER_PROF, PATTERN_CPU_S)
            os.write(answers, _answer(pattern, said).encode("ascii"))
    finally:
        # whatever happened: nothing may return from a fork
        os._exit(0)


def _answer(pattern: str, said: list[str]) -> str:
    if not pattern:
        return ABSENT
    try:
        wanted = re.compile(pattern, re.MULTILINE)
    except (re.error, RecursionError, OverflowError):
        return WRONG
    return FOUND if any(wanted.search(text) for text in said) else ABSENT
