"""The error body: `{"error": {code, message, hint, details, problems}}`, for every refusal.

Written by `server.errors`, read by the client. `details` holds JSON values only.
"""

from __future__ import annotations

from typing import Any

from zenkei.model.errors import Problem, ZenkeiError


def body_of(error: ZenkeiError) -> dict[str, Any]:
    """What travels; the status stands beside it."""
    return {
        "error": {
            "code": error.code,
            "message": error.message,
            "hint": error.hint,
            "details": error.details,
            "problems": [_problem(problem) for problem in error.problems],
        }
    }


def _problem(problem: Problem) -> dict[str, Any]:
    at = problem.at
    return {
        "code": problem.code,
        "message": problem.message,
        "hint": problem.hint,
        "at": None if at is None else {"file": at.file, "line": at.line, "column": at.column},
    }
