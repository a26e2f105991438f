"""What a request asks for, checked: requirement lines and index options, or a given lock.

Called by `locking`. Pure. Requests arrive through `spec`, which explains mistakes with file and
line; this is the second fence, in front of a program that would read local files and expand
variables if it were told to: paths, nested files, editable installs, `${VAR}` and credentials are
refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from zenkei.envs import lockfile
from zenkei.model.errors import InvalidInput, NotAvailable
from zenkei.model.job import EnvRequest

_INDEX: Final = re.compile(
    r"(?:(-i|--index-url)|(--extra-index-url)|(-f|--find-links))(?:\s*=\s*|\s+)(https?://\S+)"
)
_NAMES: Final = ("--index-url", "--extra-index-url", "--find-links")
_FLAGS: Final = frozenset({"--pre", "--prefer-binary", "--no-index"})
_KEPT: Final = {"--pre": "--prerelease=allow", "--no-index": "--no-index", "--prefer-binary": ""}
_LOCAL: Final = re.compile(r"(?:[^@;]*@\s*)?(?:file:|~|\.{0,2}/|[A-Za-z]:\\)")
_REPOSITORY: Final = re.compile(r"(?:[^@;]*@\s*)?(?:git|hg|svn|bzr)\+")
_CREDENTIAL: Final = re.compile(r"://[^/\s@]*@")
_WISH: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\s*(?:[\[<>=!~;@(].*)?")
MOST_LINES: Final = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Wishes:
    """options: index options of the job's own, as uv takes them. locked: `lines` are pins."""

    lines: tuple[str, ...]
    options: tuple[str, ...] = ()
    locked: bool = False


def of(request: EnvRequest) -> Wishes:
    """Raises InvalidInput that shows the line which cannot be used."""
    if request.lock:
        if request.packages or request.requirements:
            raise InvalidInput(
                "bad-environment",
                "`env.lock` says everything that is installed, and packages are named beside it",
                hint="remove `packages` and `requirements`, or remove `lock`",
            )
        options, rest = _sorted_out(_lock_lines(request.lock))
        return Wishes(lines=lockfile.pinned(rest), options=options, locked=True)
    numbered = [(0, " ".join(package.split())) for package in request.packages]
    options, rest = _sorted_out([*numbered, *lockfile.logical_lines(request.requirements)])
    return Wishes(lines=tuple(sorted({line for _, line in rest})), options=options)


def _lock_lines(text: str) -> list[tuple[int, str]]:
    if re.search(r"^lock-version\s*=", text, re.M):
        return _pylock_lines(text)
    if re.search(r"^\[\[package\]\]", text, re.M):
        raise NotAvailable(
            "lock-format",
            "uv.lock and poetry.lock are not read: they lock a project, not an environment",
            hint="write one with `uv export --format pylock.toml -o pylock.toml` and name that",
        )
    return lockfile.logical_lines(text)


def _pylock_lines(text: str) -> list[tuple[int, str]]:
    """A pylock.toml (PEP 751) as pinned lines: versions, markers, hashes; no addresses."""
    import tomllib

    try:
        document: dict[str, Any] = tomllib.loads(text)
        lines = []
        for package in document.get("packages", []):
            if "version" not in package:
                raise ValueError(f"{package['name']} has no version (a directory or a repository)")
            files = [*package.get("wheels", []), *filter(None, [package.get("sdist")])]
            hashes = [f"--hash=sha256:{file['hashes']['sha256']}" for file in files]
            marker = f" ; {package['marker']}" if package.get("marker") else ""
            wish = f"{package['name']}=={package['version']}{marker}"
            lines.append((0, " ".join([wish, *hashes])))
        return lines
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidInput(
            "bad-lock",
            f"the lock cannot be read as pylock.toml: {str(error)[:200]}",
            hint="make it with `uv export --format pylock.toml`",
        ) from error


def _sorted_out(
    lines: list[tuple[int, str]],
) -> tuple[tuple[str, ...], list[tuple[int, str]]]:
    """Index options in uv's spelling, in their order; and the other lines, checked."""
    if len(lines) > MOST_LINES:
        raise InvalidInput(
            "bad-environment",
            f"the environment names {len(lines)} packages, the limit is {MOST_LINES}",
            hint="name what the job needs, not everything that is installed",
        )
    options, rest = [], []
    for number, line in lines:
        match = _INDEX.fullmatch(line)
        _check(number, line, option=match is not None)
        if match is not None:
            name = next(name for name, kind in zip(_NAMES, match.groups(), strict=False) if kind)
            options.append(f"{name}={match[4]}")
        elif line in _FLAGS:
            options += filter(None, [_KEPT[line]])
        else:
            rest.append((number, line))
    return tuple(dict.fromkeys(options)), rest


def _check(number: int, line: str, *, option: bool) -> None:
    where = f" (line {number})" if number else ""
    shown = repr(line[:160])[1:-1]
    if _CREDENTIAL.search(line):
        shown = _CREDENTIAL.sub("://***@", shown)
        raise InvalidInput(
            "environment-credential",
            f"`{shown}`{where} holds a credential, and what is submitted is kept",
            hint="keep credentials in uv's own settings or a netrc file",
        )
    if "${" in line or "\0" in line or "\n" in line:
        raise _refused(shown, where, "write the value itself; variables are not replaced here")
    if option or line in _FLAGS:
        return
    if _REPOSITORY.match(line):
        raise _refused(
            shown,
            where,
            "a repository has no hash: put its code beside the job, or publish a wheel",
        )
    if _LOCAL.match(line):
        raise _refused(
            shown, where, "code travels with the job: set PYTHONPATH in `env.vars` instead"
        )
    if line.startswith("-"):
        raise _refused(
            shown,
            where,
            "options that are understood: " + ", ".join([*_NAMES, *sorted(_FLAGS)]),
        )
    if not _WISH.fullmatch(line):
        raise _refused(shown, where, "write a package as pip takes it: numpy>=2")


def _refused(shown: str, where: str, hint: str) -> InvalidInput:
    return InvalidInput(
        "bad-environment", f"`{shown}`{where} cannot be part of an environment", hint=hint
    )
