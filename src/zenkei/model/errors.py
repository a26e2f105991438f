"""All errors that zenkei tells a person about.

    ZenkeiError
    ├── InvalidInput      400  exit 2    what was asked is malformed or impossible
    │   └── NotAvailable  400  exit 2    valid, but this version or machine cannot do it
    ├── NotFound          404  exit 4    no such thing, or the caller may not know of it
    ├── Denied            403  exit 5    the caller may not do this
    ├── Conflict          409  exit 6    the thing's state does not allow it (now)
    ├── Unavailable       503  exit 75   a part does not answer; trying again may help
    └── InternalError     500  exit 70   a defect of zenkei; has an incident id, never inner text

Raised everywhere, translated to a status by `server.errors` and to an exit code by `cli.errors`.
Message: what happened, with the value. Hint: what to do. Waiting is not an error.

Engine errors say whether trying again can help (the adapter decides, nobody above it guesses):
    EngineError
    ├── TemporaryEngineError(delay_s)
    └── PermanentEngineError
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, kw_only=True)
class Location:
    """A place in a file that a person wrote; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing wrong with an input. `code` names its section in the error reference."""

    code: str
    message: str
    hint: str = ""
    at: Location | None = None

    def __str__(self) -> str:
        return f"{self.message} ({self.at})" if self.at else self.message


class ZenkeiError(Exception):
    """Base of the tree. `code` is stable and documented; `details` holds JSON values only."""

    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 70

    def __init__(
        self,
        code: str,
        message: str,
        *,
        hint: str = "",
        details: dict[str, object] | None = None,
        problems: tuple[Problem, ...] = (),
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.details = details or {}
        self.problems = problems


class InvalidInput(ZenkeiError):
    """The request is malformed or impossible. `problems` lists every one that was found."""

    status = 400
    exit_code = 2


class NotAvailable(InvalidInput):
    """Valid, understood, and not offered by this version or on this machine."""


class NotFound(ZenkeiError):
    """No such object, or the caller may not learn that there is one."""

    status = 404
    exit_code = 4


class Denied(ZenkeiError):
    """The caller is known and may not do this."""

    status = 403
    exit_code = 5


class Conflict(ZenkeiError):
    """The object's state does not allow the command."""

    status = 409
    exit_code = 6


class Unavailable(ZenkeiError):
    """Something needed does not answer; trying again later may help."""

    status = 503
    exit_code = 75


class InternalError(ZenkeiError):
    """A defect. The text shown carries an incident id; the story is in the log."""


class EngineError(Exception):
    """An engine could not do what it was told."""


class TemporaryEngineError(EngineError):
    """Trying again after `delay_s` may help."""

    def __init__(self, message: str, *, delay_s: float = 1.0) -> None:
        super().__init__(message)
        self.delay_s = delay_s


class PermanentEngineError(EngineError):
    """Trying the same again cannot help."""


class CheckpointDamaged(PermanentEngineError):
    """The checkpoint to go on from is not what was kept; nothing was started."""
