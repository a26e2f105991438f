"""A failure as the client knows it: what the daemon answered, or what kept it from answering.

The same shape as `model.errors.ZenkeiError`, which costs 15 ms to import (dataclasses);
`cli.errors` shows both in the same way.
"""

from __future__ import annotations

from typing import Any

EXIT_OF_STATUS = {400: 2, 404: 4, 403: 5, 409: 6, 503: 75, 500: 70}


class Failure(Exception):
    """`problems`: list of {code, message, hint, at}."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        hint: str = "",
        exit_code: int = 70,
        details: dict[str, Any] | None = None,
        problems: list[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.exit_code = exit_code
        self.details = details or {}
        self.problems = problems or []


class Disconnected(Failure):
    """The connection broke: the daemon stopped or was killed. Jobs go on; trying again helps."""

    def __init__(self, message: str) -> None:
        super().__init__(
            "daemon-gone",
            message,
            hint="running jobs go on; any command starts the daemon again",
            exit_code=75,
        )


class NotRunning(Disconnected):
    """Nobody listens at the socket."""


def usage(message: str, hint: str = "") -> Failure:
    """The command line itself is wrong (exit code 2)."""
    return Failure("usage", message, hint=hint, exit_code=2)


def of_answer(status: int, body: Any) -> Failure:
    """From an error body; whatever else arrives with an error status is reported as it is."""
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        text = f"the daemon answered with status {status}"
        return Failure("bad-answer", text, exit_code=EXIT_OF_STATUS.get(status, 70))
    return Failure(
        str(error.get("code", "unknown")),
        str(error.get("message", "")),
        hint=str(error.get("hint", "")),
        exit_code=EXIT_OF_STATUS.get(status, 70),
        details=error.get("details") or {},
        problems=error.get("problems") or [],
    )
