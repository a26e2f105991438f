"""Rules for the names that people choose: jobs, projects, labels, variables, parameters, paths.

Pure functions, used by `keys` (as kinds' rules) and `envfiles`. A rule returns a hint if a text is
not allowed, else ''. Names end in paths, tables and terminals of other people: hence the limits.
"""

from __future__ import annotations

import re
from typing import Final

from zenkei.spec import limits
from zenkei.spec.kinds import hidden

_PUNCTUATION: Final = r"\s!-,/:-@\[-\^`{-~\\"
PLACE_PATTERN: Final = rf"[^{_PUNCTUATION}.\-][^{_PUNCTUATION}]*"
LABEL_PATTERN: Final = r"[A-Za-z0-9](?:[A-Za-z0-9._/\-]{0,61}[A-Za-z0-9])?"
VARIABLE_PATTERN: Final = r"[A-Za-z_][A-Za-z0-9_]{0,199}"
PARAMETER_PATTERN: Final = r"[A-Za-z_][A-Za-z0-9_\-]{0,63}"
STORED_PATTERN: Final = r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,127}"
RESERVED_PREFIX: Final = "ZENKEI_"

_LABEL: Final = re.compile(LABEL_PATTERN, re.ASCII)
_VARIABLE: Final = re.compile(VARIABLE_PATTERN, re.ASCII)
_PARAMETER: Final = re.compile(PARAMETER_PATTERN, re.ASCII)
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://")


def job_name(text: str) -> str:
    if text in (".", ".."):
        return "it would mean a directory"
    bad = next((c for c in "/\\" if c in text), "")
    return f"`{bad}` is not allowed in names" if bad else ""


def place_name(text: str) -> str:
    """Of a project or a queue: one part of a path on every file system."""
    if len(text.encode()) > 2 * limits.PLACE_CHARS:
        return "it is too long for a file name"
    return ""


def inner_path(text: str) -> str:
    """A path that stays inside the job's directory."""
    if text.startswith(("/", "~")) or _SCHEME.match(text):
        return "use a path relative to the job's directory"
    if ".." in text.split("/"):
        return "`..` would leave the job's directory"
    return ""


def output_path(text: str) -> str:
    if not clean_path(text):
        return "name a directory below the job's, such as `outputs`"
    return inner_path(text)


def clean_path(text: str) -> str:
    """`./a//b/` is `a/b`."""
    return "/".join(part for part in text.split("/") if part not in ("", "."))


def regular_expression(text: str) -> str:
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        return f"it is no regular expression of Python's: {error}"
    return ""


def pattern(text: str) -> str:
    """A line of an ignore file; a leading slash means the job's directory, as in git."""
    if ".." in text.lstrip("!").split("/"):
        return "`..` would leave the job's directory"
    return ""


def label(text: str) -> tuple[str, str] | None:
    if _LABEL.fullmatch(text):
        return None
    hint = "letters, digits, `.`, `_`, `-`, `/`; at most 63; letters or digits at both ends"
    return "is not a label name", hint


def variable(text: str) -> tuple[str, str] | None:
    if not _VARIABLE.fullmatch(text):
        return "is not a variable name", "letters, digits and `_`, not starting with a digit"
    if text.startswith(RESERVED_PREFIX):
        return "is reserved", f"variables that start with {RESERVED_PREFIX} are set by zenkei"
    return None


def variable_rule(text: str) -> str:
    bad = variable(text)
    return "" if bad is None else bad[1]


def parameter(text: str) -> tuple[str, str] | None:
    if _PARAMETER.fullmatch(text):
        return None
    hint = "letters, digits, `_` and `-`, starting with a letter or `_`; at most 64"
    return "is not a parameter name", hint


def default_job_name(file: str, command: str | tuple[str, ...]) -> str:
    """`digits` for digits/job.yaml, `train` for train.yaml, else by the script that is started."""
    *folders, base = file.replace("\\", "/").split("/")
    stem = re.sub(r"\.ya?ml$", "", base)
    if stem not in (base, "job"):
        return _as_name(stem) or "job"
    if stem != base and folders and _as_name(folders[-1]):
        return _as_name(folders[-1])
    words = command.split() if isinstance(command, str) else command
    for word in words[:20]:
        script = re.fullmatch(r"(?:.*/)?([^/]+)\.(?:py|sh|ipynb|R|jl)", word)
        if script and _as_name(script[1]):
            return _as_name(script[1])
    return "job"


def _as_name(text: str) -> str:
    """What of a file's name can be a job's name; '' if nothing."""
    import unicodedata

    seen = "".join(c for c in text if not hidden(c) and c not in "/\\").strip()
    name = unicodedata.normalize("NFC", seen)[: limits.NAME_CHARS].strip()
    return "" if name in (".", "..") or "${{" in name else name
