"""Which paths of a working tree travel: ignore files as git reads them, and what never should.

Called by `scan` for each directory and path. The last that speaks decides: .git/info/exclude, then
.gitignore from the repository's top down to the path's directory, .zenkeiignore from the tree's
root down likewise (`!name` there brings back even what zenkei leaves out by itself), and last
`code.exclude`. If `code.include` is given, only what it names, or lies below, travels. As in git,
nothing below a left out directory comes back. Not read: git's global ignore file (it belongs to a
person, not to the tree).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from pathspec.patterns.gitignore.base import GitIgnorePatternError
from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

IGNORE_FILES: Final = (".gitignore", ".zenkeiignore")


class Rules:
    """The patterns of one file; paths are relative to the directory the file lies in."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._patterns: list[tuple[re.Pattern[str], bool]] = []
        for line in lines:
            # pathspec reads `x/**/` as `x/`, git as the directories in x
            only_below = line.rstrip().endswith("/**/")
            try:
                pattern = GitIgnoreSpecPattern(line.rstrip()[:-1] if only_below else line)
            except GitIgnorePatternError:
                continue  # git, too, passes over lines that it cannot read
            if pattern.regex is None or pattern.include is None:
                continue
            regex = pattern.regex.pattern
            exact = re.compile(regex + r".*/\Z", re.DOTALL) if only_below else _exact(regex)
            self._patterns.append((exact, pattern.include))
        texts = [f"(?:{pattern.pattern})" for pattern, _ in self._patterns]
        # most paths match nothing: one search instead of one per pattern
        self._any = re.compile("|".join(texts), re.DOTALL) if texts else None

    def __bool__(self) -> bool:
        return self._any is not None

    def says(self, path: str) -> bool | None:
        """True: leave out; False: bring back; None: nothing. Directories end with `/`."""
        if self._any is None or not self._any.search(path):
            return None
        for pattern, include in reversed(self._patterns):
            if pattern.search(path):
                return include
        return None


def _exact(regex: str) -> re.Pattern[str]:
    """pathspec's expression for the path itself only.

    As it comes it also matches all that lies below a directory, so `!a` would bring back what `a/*`
    leaves out; git asks for each directory on the way instead, and so does the walk. Named groups
    go because the expressions are joined, `$` because names may hold newlines.
    """
    below = re.search(r"\(\?P<\w+>/\)", regex)
    text = regex
    if text.endswith("|$)"):
        text = re.sub(r"\(\?:\(\?P<\w+>/\)\|\$\)\Z", r"/?\\Z", text)
    elif below is not None and text.endswith(below[0]):
        text = text.removesuffix(below[0]) + r"/\Z"
    elif text.endswith("/"):
        text += "."  # `x/**` names what is in x, not x
    return re.compile(text, re.DOTALL)


@dataclass(frozen=True, slots=True)
class Level:
    """The rules found in one directory, `prefix` (with a final `/`, empty at the root).

    above: for directories over the root: the way from there down to the root, with a final `/`.
    """

    prefix: str
    git: Rules
    own: Rules
    above: str = ""

    def relative(self, path: str) -> str:
        return self.above + path[len(self.prefix) :]


class Selection:
    """Decides for one scan. Levels of a path: of its directory and all above, topmost first."""

    def __init__(self, *, include: Iterable[str], exclude: Iterable[str]) -> None:
        self._include = Rules(include)
        self._exclude = Rules(exclude)

    def asked_out(self, path: str, levels: tuple[Level, ...]) -> bool | None:
        """True: somebody asked to leave it out; False: .zenkeiignore wants it; None: neither."""
        if self._exclude.says(path):
            return True
        for level in reversed(levels):
            said = level.own.says(level.relative(path))
            if said is not None:
                return said
        for level in reversed(levels):
            said = level.git.says(level.relative(path))
            if said is not None:
                return True if said else None
        return None

    def included(self, path: str) -> bool:
        """For files and links; directories are always looked into."""
        if not self._include:
            return True
        said = self._include.says(path)
        while said is None and "/" in path.rstrip("/"):
            path = path.rstrip("/").rpartition("/")[0] + "/"
            said = self._include.says(path)
        return said is True


BYTECODE: Final = "__pycache__"
USUAL: Final = frozenset({".git", ".hg", ".svn", BYTECODE, "node_modules"})
_DIRECTORIES: Final = {
    ".git": "git's own directory; commit and diff are recorded instead",
    ".hg": "Mercurial's own directory",
    ".svn": "Subversion's own directory",
    BYTECODE: "compiled Python; made again where the job runs",
    "node_modules": "installed packages",
    ".ssh": "may hold private keys",
    ".aws": "may hold credentials",
    ".gnupg": "may hold private keys",
}
_FILES: Final = {
    ".git": "git's own file; commit and diff are recorded instead",
    ".env": "usually holds secrets: use `zenkei secret set`",
    ".netrc": "holds passwords",
    ".pgpass": "holds passwords",
    ".pypirc": "holds passwords",
    ".git-credentials": "holds passwords",
    ".htpasswd": "holds passwords",
}
_PRIVATE_KEY = "a private key"
_KEY_NAMES: Final = re.compile(r"id_(rsa|dsa|ecdsa|ed25519)(_sk)?|.*\.(p12|pfx|ppk|jks|keystore)")
_KEY_SUFFIXES: Final = (".pem", ".key", ".crt", ".der", ".asc")
KEY_BEGINNINGS: Final = (b"-----BEGIN ", b"PuTTY-User-Key-File")
_ENV_SAMPLES: Final = (".example", ".sample", ".template", ".dist")
ENVIRONMENT_MARKS: Final = ("pyvenv.cfg", "conda-meta")
# both stand in every home of zenkei, also in one that was made under another ZENKEI_HOME
HOME_MARKS: Final = ("state.lock", "db.sqlite3")


def directory_left_out(name: str) -> str:
    """Why a directory of this name does not travel unless asked for; empty if it does."""
    return _DIRECTORIES.get(name, "")


def file_left_out(name: str) -> str:
    """Why a file of this name does not travel unless asked for; empty if it does."""
    if name.startswith(".env.") and not name.endswith(_ENV_SAMPLES):
        return _FILES[".env"]
    if _KEY_NAMES.fullmatch(name):
        return _PRIVATE_KEY
    return _FILES.get(name, "")


def may_hold_key(name: str) -> bool:
    """Whether the content must be looked at before it travels."""
    return name.endswith(_KEY_SUFFIXES)


def content_left_out(beginning: bytes) -> str:
    """Why a file that begins like this does not travel; empty if it does."""
    if beginning.startswith(b"PuTTY-User-Key-File"):
        return _PRIVATE_KEY
    found = re.search(rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY( BLOCK)?-----", beginning)
    return _PRIVATE_KEY if found else ""
