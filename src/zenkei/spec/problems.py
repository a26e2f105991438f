"""Collects everything wrong with one file, so that a person sees all of it at once.

Used by every module of this room while it reads. Values are shown cut to 60 characters, escaped,
and with known forms of credentials masked: an error never carries a secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from collections.abc import Mapping as AnyMapping
from dataclasses import replace
from enum import StrEnum
from typing import Final

from zenkei.model.errors import InvalidInput, Location, Problem
from zenkei.spec import limits
from zenkei.spec.tree import Mapping, Node, Scalar

SHOWN_CHARS: Final = 60
JOB_FILE: Final = "job file"
CLUSTER_FILE: Final = "cluster file"


class Code(StrEnum):
    """What can be wrong with a file. The text after each name opens its section in the docs."""

    YAML = "yaml-syntax"  # the text is not YAML
    FORBIDDEN_YAML = "yaml-not-allowed"  # YAML that no file uses: tags, several documents
    ENCODING = "not-utf8"  # bytes or characters that no text file holds
    TOO_LARGE = "too-large"  # more of something than the limit
    UNKNOWN_KEY = "unknown-key"  # a key that does not exist, or not there
    DUPLICATE_KEY = "duplicate-key"  # a key that stands twice in one mapping
    MISSING_KEY = "missing-key"  # a key that must be there
    WRONG_TYPE = "wrong-type"  # a list where a text is wanted, and the like
    BAD_VALUE = "bad-value"  # the right type, and not a value this key can have
    OUT_OF_RANGE = "out-of-range"  # a number that is too small or too large
    CONFLICT = "conflicting-keys"  # keys that contradict each other
    TEMPLATE = "bad-template"  # ${{ ... }} that names nothing, or stands where none is replaced
    SECRET = "looks-like-a-secret"  # noqa: S105  # a credential in a file that is stored and shown
    FILE = "file-not-usable"  # a file that is named cannot be used
    NOT_YET = "not-available-yet"  # understood, and offered by a later version


CREDENTIAL: Final = re.compile(
    r"""\b(?:
      gh[opusr]_[A-Za-z0-9]{20,} | github_pat_[A-Za-z0-9_]{20,} | glpat-[A-Za-z0-9_-]{16,}
    | hf_[A-Za-z0-9]{20,} | sk-[A-Za-z0-9_-]{20,} | xox[abeprs]-[A-Za-z0-9-]{10,}
    | A[KS]IA[0-9A-Z]{16}\b | AIza[0-9A-Za-z_-]{30,}
    | npm_[A-Za-z0-9]{30,} | pypi-[A-Za-z0-9_-]{30,}
    | eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+
    ) | -----BEGIN[ ][A-Z ]{0,40}PRIVATE[ ]KEY-----
      | (?<=://)[^/\s:@]{0,200}:[^/\s@]{1,200}(?=@)""",
    re.VERBOSE,
)
"""Tokens of well-known services, JSON web tokens, private keys, passwords in addresses."""


def show(text: str) -> str:
    """A value as an error shows it: one line, cut, escaped, credentials masked."""
    cut = text[: 4 * SHOWN_CHARS]
    masked = CREDENTIAL.sub("***", cut)
    if len(text) > len(cut) and masked != cut:
        masked = f"{masked[: masked.index('***') + 3]}…"
    line = "".join(c if c.isprintable() else _escape(c) for c in masked)
    return line if len(line) <= SHOWN_CHARS else f"{line[: SHOWN_CHARS - 1]}…"


def show_path(path: str) -> str:
    """A path keeps its end: the file's name says more than the first folder."""
    line = "".join(c if c.isprintable() else _escape(c) for c in path[-4 * SHOWN_CHARS :])
    return line if len(line) <= 2 * SHOWN_CHARS else f"…{line[1 - 2 * SHOWN_CHARS :]}"


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def listing(words: Iterable[str], most: int = 40) -> str:
    """`a, b, c`; a long list ends in an ellipsis."""
    known = [show(word) for word in words]
    return ", ".join(known[:most]) + (", …" if len(known) > most else "")


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The word that was probably meant, or None."""
    from difflib import get_close_matches

    lowered = {k.lower(): k for k in known}
    found = get_close_matches(word[:100].lower(), lowered, n=1, cutoff=0.68)
    return lowered[found[0]] if found else None


class Reading:
    """One pass over one file. `file` is the name to show.

    homes: the section of each key that exists in only one ('' is the file itself), for hints.
    folder: where the file stands, if `file` does not say; `path` is both. what: JOB_FILE or
    CLUSTER_FILE. depth: of nesting that is allowed.
    """

    def __init__(
        self,
        file: str,
        homes: AnyMapping[str, str],
        *,
        folder: str = "",
        what: str = JOB_FILE,
        depth: int = limits.DEPTH,
    ) -> None:
        self.what = what
        self.depth = depth
        self.path = f"{folder.rstrip('/')}/{file.rpartition('/')[2]}" if folder else file
        self.file = show_path(file) or ("job.yaml" if what == JOB_FILE else "cluster.yaml")
        self.homes = homes
        self.problems: list[Problem] = []
        self.more = 0

    def add(self, node: Node | None, code: Code, message: str, hint: str = "") -> None:
        line, column = (node.line, node.column) if node is not None else (0, 0)
        self.add_at(line, column, code, message, hint)

    def add_at(
        self, line: int, column: int, code: Code, message: str, hint: str = "", *, file: str = ""
    ) -> None:
        """line 0: the problem has no place (it came from a flag). file: another one than this."""
        if len(self.problems) >= limits.PROBLEMS:
            self.more += 1
            return
        at = Location(file=show_path(file) or self.file, line=line, column=column) if line else None
        self.problems.append(Problem(code=str(code), message=message, hint=hint, at=at))

    @property
    def smaller(self) -> str:
        """What to do about a list that is too long."""
        return "split the job, or put the list into a file" if self.what == JOB_FILE else ""

    def hint_since(self, first: int, hint: str) -> None:
        """Give `hint` to the problems from number `first` on that have none of their own."""
        for number in range(first, len(self.problems)):
            if not self.problems[number].hint:
                self.problems[number] = replace(self.problems[number], hint=hint)

    def finish(self) -> None:
        """Raises InvalidInput if anything was wrong; problems are in the order of the file."""
        if not self.problems:
            return
        found = sorted(self.problems, key=self._order)
        first, count = found[0], len(found) + self.more
        message = str(first) if count == 1 else f"{self.file} has {count} problems, first: {first}"
        raise InvalidInput(
            "invalid-job-file" if self.what == JOB_FILE else "invalid-cluster-file",
            message,
            hint=first.hint,
            problems=tuple(found),
        )

    def _order(self, problem: Problem) -> tuple[bool, int, int]:
        at = problem.at
        return (at.file != self.file, at.line, at.column) if at else (False, 0, 0)


def describe(node: Node) -> str:
    """What stands there, for `must be X, not ...`."""
    if isinstance(node, Scalar):
        return f"`{show(node.text)}`"
    return "a mapping" if isinstance(node, Mapping) else "a list"
