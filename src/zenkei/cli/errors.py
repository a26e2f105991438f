"""Shows what went wrong, and chooses the exit code. Called by `entry` only.

For people, on stderr:   error: MESSAGE (FILE:LINE:COLUMN)
                         hint: WHAT TO DO
With --json, on stdout:  {"error": {code, message, hint, details, problems},
                          "exit": {code, by, text}}
Takes the client's Failure and the tree of `model.errors` alike: both have the same attributes.
"""

from __future__ import annotations

import errno
import json
import sys
from typing import Any

from zenkei.cli.render import clean


def report(error: Exception, *, as_json: bool) -> int:
    """Print an error; returns the exit code of the process."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return _no_space(error)
    if not hasattr(error, "exit_code"):
        return _defect(error, as_json=as_json)
    code = int(error.exit_code)
    problems = [_problem(p) for p in getattr(error, "problems", ())]
    if as_json:
        body = {
            "code": getattr(error, "code", "unknown"),
            "message": str(error),
            "hint": getattr(error, "hint", ""),
            "details": getattr(error, "details", {}),
            "problems": problems,
        }
        exit_ = {"code": code, "by": "zenkei", "text": "zenkei could not do it"}
        print(json.dumps({"error": body, "exit": exit_}, ensure_ascii=False))
        return code
    for problem in problems or [{"message": str(error), "hint": getattr(error, "hint", "")}]:
        _say(problem)
    return code


def _problem(problem: Any) -> dict[str, Any]:
    """A problem as the wire has it; those raised in this process are objects."""
    if isinstance(problem, dict):
        return problem
    at = problem.at
    place = None if at is None else {"file": at.file, "line": at.line, "column": at.column}
    return {
        "code": problem.code,
        "message": problem.message,
        "hint": problem.hint,
        "at": place,
    }


def _say(problem: dict[str, Any]) -> None:
    at = problem.get("at")
    place = f" ({at['file']}:{at['line']}:{at['column']})" if at else ""
    print(f"error: {clean(str(problem.get('message', '')))}{clean(place)}", file=sys.stderr)
    if problem.get("hint"):
        print(f"hint: {clean(str(problem['hint']))}", file=sys.stderr)


def _no_space(error: OSError) -> int:
    """Nothing more can be written where the output goes: always in words, never on stdout."""
    import os

    if not error.filename:
        # what is left in the buffer would fail again at the very end, with an exit code of its own
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    where = f" ({error.filename})" if error.filename else ""
    message = f"the output cannot be written: {error.strerror}{where}"
    _say({"message": message, "hint": "free some space, or write elsewhere; jobs are not touched"})
    return 75


def _defect(error: Exception, *, as_json: bool) -> int:
    """A defect of the command line itself: say so in one line; the story if it is asked for."""
    import os

    if os.environ.get("ZENKEI_TRACEBACK"):
        import traceback

        traceback.print_exception(error, file=sys.stderr)
    text = f"a defect of zenkei: {type(error).__name__}: {error}"
    hint = "ZENKEI_TRACEBACK=1 shows where; please report it"
    if as_json:
        body = {"code": "internal", "message": text, "hint": hint, "details": {}, "problems": []}
        exit_ = {"code": 70, "by": "zenkei", "text": "zenkei could not do it"}
        print(json.dumps({"error": body, "exit": exit_}, ensure_ascii=False))
    else:
        _say({"message": text, "hint": hint})
    return 70
