"""Remarks of the agent for whoever looks after the machine: standard error is the agent's log.

A full disk must not turn a remark into a failure.
"""

from __future__ import annotations

import sys
import traceback


def note(text: str) -> None:
    """One line."""
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except OSError:
        pass


def note_exception() -> None:
    """The exception that is being handled, with its story."""
    note(traceback.format_exc())
