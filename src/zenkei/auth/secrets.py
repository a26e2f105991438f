"""Secrets as files of their owner, outside the database: `<folder>/<project>/<name>`.

Named by `app`; called by the routes of `zenkei secret` and by engines at launch. Promises:
- a value is never part of a message, a log line or a `repr`, and a name only once it is valid (what
  was given as a name may be the value itself, typed in the wrong place);
- directories are 0700 and files 0600, and what is not this uid's alone is refused, not repaired:
  somebody else may have read or written it; no link is ever followed, below `folder`;
- `set` is atomic and durable: after a crash the old value or the new one is there, complete.

One process writes (the daemon holds the home's lock), its threads take turns. Cost: a few calls to
the file system, nothing is cached.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from zenkei.model.errors import Denied, InvalidInput, NotFound, Unavailable
from zenkei.spec.names import PLACE_PATTERN, STORED_PATTERN, place_name

MOST_BYTES: Final = 64 * 1024
# the rule of job files, so that what they may name can be set; no leading dot: those are our own
_NAME: Final = re.compile(STORED_PATTERN, re.ASCII)
_PROJECT: Final = re.compile(PLACE_PATTERN)
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# a pipe put in a file's place must not make the reader wait
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OTHERS: Final = 0o077


class FileSecrets:
    """Implements `ports.secrets.Secrets`. folder: made when the first secret is set."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._turn = threading.Lock()

    def set(self, project: str, name: str, value: bytes) -> None:
        """Raises InvalidInput for a bad name, an empty value, or one above MOST_BYTES."""
        project, name = _project(project), _name(name)
        if not value:
            raise InvalidInput(
                "bad-secret-value",
                f"the value for secret `{name}` is empty",
                hint=f"send it on standard input: `zenkei secret set {name} < FILE`",
            )
        if len(value) > MOST_BYTES:
            raise InvalidInput(
                "bad-secret-value",
                f"the value for secret `{name}` has {len(value)} bytes, the limit is {MOST_BYTES}",
                hint="keep the data elsewhere, and its key here",
            )
        with self._turn, _errors(), self._project_fd(project, make=True) as place:
            _replace(place, name, value)

    def get(self, project: str, name: str) -> bytes:
        """Raises NotFound with a hint how to set it, Denied if others could have touched it."""
        project, name = _project(project), _name(name)
        try:
            with _errors(), self._project_fd(project) as place:
                return _read(place, name)
        except FileNotFoundError:
            raise _no_secret(project, name) from None

    def names(self, project: str) -> tuple[str, ...]:
        """Sorted; empty for a project without secrets."""
        project = _project(project)
        try:
            with _errors(), self._project_fd(project) as place:
                return tuple(sorted(name for name in os.listdir(place) if _NAME.fullmatch(name)))
        except FileNotFoundError:
            return ()

    def remove(self, project: str, name: str) -> None:
        """Raises NotFound if there is none. A value that others could read is removed too."""
        project, name = _project(project), _name(name)
        try:
            with self._turn, _errors(), self._project_fd(project) as place:
                _unlink(place, _temporary(name))
                os.unlink(name, dir_fd=place)
                os.fsync(place)
        except FileNotFoundError:
            raise _no_secret(project, name) from None

    @contextmanager
    def _project_fd(self, project: str, *, make: bool = False) -> Iterator[int]:
        """The project's directory, checked. Every later step is relative to it: no path is

        looked up twice, so nothing can be exchanged in between.
        """
        if make:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        top = os.open(self._folder, _DIRECTORY)
        try:
            _check(os.fstat(top), "the folder of all secrets")
            if make:
                _make_directory(top, project)
            place = os.open(project, _DIRECTORY, dir_fd=top)
        finally:
            os.close(top)
        try:
            _check(os.fstat(place), f"the folder of project `{project}`'s secrets")
            yield place
        finally:
            os.close(place)


def _make_directory(top: int, project: str) -> None:
    try:
        os.mkdir(project, mode=0o700, dir_fd=top)
    except FileExistsError:
        return
    os.fsync(top)


def _replace(place: int, name: str, value: bytes) -> None:
    """Write beside, make durable, rename, make the rename durable."""
    temporary = _temporary(name)
    # of a writer that was killed
    _unlink(place, temporary)
    fd = os.open(temporary, _NEW, mode=0o600, dir_fd=place)
    try:
        try:
            with os.fdopen(fd, "wb") as file:
                os.fchmod(fd, 0o600)
                file.write(value)
                file.flush()
                os.fsync(fd)
            os.rename(temporary, name, src_dir_fd=place, dst_dir_fd=place)
        except BaseException:
            _unlink(place, temporary)
            raise
    finally:
        os.fsync(place)


def _read(place: int, name: str) -> bytes:
    fd = os.open(name, _FILE, dir_fd=place)
    with os.fdopen(fd, "rb") as file:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise _unsafe(f"secret `{name}`", "is not a file")
        _check(found, f"secret `{name}`")
        value = file.read(MOST_BYTES + 1)
    if not value or len(value) > MOST_BYTES:
        raise _unsafe(f"secret `{name}`", "was not written by zenkei (empty or too long)")
    return value


def _check(found: os.stat_result, what: str) -> None:
    uid = os.geteuid()
    if found.st_uid != uid:
        raise _unsafe(what, f"belongs to uid {found.st_uid}, not to you (uid {uid})")
    if found.st_mode & _OTHERS:
        mode = stat.S_IMODE(found.st_mode)
        raise _unsafe(what, f"is open to others (mode {mode:04o})")


def _unsafe(what: str, why: str) -> Denied:
    return Denied(
        "secret-unsafe",
        f"{what} {why}; others may have read or written it",
        hint="change the key at its source, remove the file, and set the secret again",
    )


def _temporary(name: str) -> str:
    return f".{name}.new"


def _unlink(place: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=place)
    except FileNotFoundError:
        pass


def _name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            "bad-secret-name",
            f"a text of {len(name)} characters is not a secret's name",
            hint="A-Z, a-z, 0-9, _, - and ., at most 128; the value comes on standard input",
        )
    return name


def _project(project: str) -> str:
    project = unicodedata.normalize("NFC", project)
    if not _PROJECT.fullmatch(project) or not project.isprintable() or place_name(project):
        raise InvalidInput(
            "bad-project-name",
            f"{project[:60]!r} is not a project's name",
            hint="letters, digits, `.`, `_` and `-`, starting with a letter or digit",
        )
    return project


def _no_secret(project: str, name: str) -> NotFound:
    return NotFound(
        "no-such-secret",
        f"project `{project}` has no secret `{name}`",
        hint=f"`zenkei secret set {name} --project {project}` reads it from standard input",
    )


@contextmanager
def _errors() -> Iterator[None]:
    """The file system's refusals in words. FileNotFoundError passes: its meaning differs."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENXIO):
            raise _unsafe("a path below the folder of secrets", "is a link or no file") from None
        raise Unavailable(
            "secrets-unavailable",
            f"the folder of secrets cannot be used: {error.strerror}",
            hint="look at space and owner of ZENKEI_HOME with `zenkei doctor`",
        ) from None
