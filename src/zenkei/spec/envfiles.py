"""The `env` section: packages, the files it names, and variables that must not be secrets.

Called by `build`. Files come through `read`, given by the caller (daemon, CLI or a test): this room
opens nothing. Requirements are kept as one line each without comments, `-r` files put in, so that
equal wishes give equal texts, hashes and environments.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from typing import Any, Final

from zenkei.model.errors import ZenkeiError
from zenkei.model.job import EnvRequest
from zenkei.spec import limits, names
from zenkei.spec.problems import CREDENTIAL, Code, Reading, show
from zenkei.spec.shapes import Fields
from zenkei.spec.tree import Node

Read = Callable[[str], bytes]
"""Content of a file by its path relative to the job file; raises OSError if it cannot be had."""

LOCK_BYTES: Final = 4 << 20
_SECRET_WORDS: Final = frozenset(
    {
        *("SECRET", "SECRETS", "PASSWORD", "PASSWD", "PASSPHRASE"),
        *("CREDENTIAL", "CREDENTIALS", "KEY", "KEYS"),
    }
)
_SECRET_ENDS: Final = ("TOKEN", "SECRET", "PASSWORD", "APIKEY", "ACCESSKEY", "PRIVATEKEY")
_HARMLESS: Final = frozenset({"", "0", "1", "true", "false", "yes", "no", "on", "off"})
_WORDS: Final = re.compile(r"_+|(?<=[a-z0-9])(?=[A-Z])")
_COMMENT: Final = re.compile(r"(^|\s+)#.*$")
_INCLUDE: Final = re.compile(r"(?:-r|--requirement)(?:\s*=\s*|\s+|(?<=-r))(.+)")
_NO_CONSTRAINTS: Final = "constraints files are not read; put their versions into the requirements"
_NO_INSTALL: Final = "code travels with the job: set PYTHONPATH in `env.vars`, do not install it"
_REFUSED: Final = {
    "-c": _NO_CONSTRAINTS,
    "--constraint": _NO_CONSTRAINTS,
    "-e": _NO_INSTALL,
    "--editable": _NO_INSTALL,
}
_LOCAL: Final = re.compile(r"(?:[^@]*@\s*)?(?:file:|\.{0,2}/)")
_CREDENTIAL_HINT: Final = "keep credentials in uv's own settings or a netrc file, not here"


def read_env(fields: Fields | None, to: Reading, read: Read | None) -> EnvRequest:
    if fields is None:
        return EnvRequest()
    packages = _packages(fields, to)
    files = _Files(to, read)
    requirements = files.requirements(fields) if "requirements" in fields else ""
    lock = files.lock(fields) if "lock" in fields else ""
    if "lock" in fields and (packages or "requirements" in fields):
        message = "`env.lock` says everything that is installed"
        hint = "remove `packages` and `requirements`, or remove `lock`"
        to.add(fields.at("lock"), Code.CONFLICT, message, hint)
    return EnvRequest(
        python=fields.get("python", ""),
        packages=packages,
        requirements=requirements,
        lock=lock,
        vars=_variables(fields, to),
        build=fields.get("build", False),
    )


def _packages(fields: Fields, to: Reading) -> tuple[str, ...]:
    for text, node in fields.get("packages", ()):
        if text.startswith("-"):
            message = f"`{show(text)}` is an option, not a package"
            to.add(node, Code.BAD_VALUE, message, "put options into a requirements file")
        elif _LOCAL.match(text):
            message = f"`{show(text)}` is a path on this machine"
            hint = "code travels with the job: set PYTHONPATH in `env.vars`"
            to.add(node, Code.BAD_VALUE, message, hint)
        elif CREDENTIAL.search(text):
            message = f"`{show(text)}` holds a credential"
            to.add(node, Code.SECRET, message, _CREDENTIAL_HINT)
    return tuple(sorted({text for text, _ in fields.get("packages", ())}))


def _variables(fields: Fields, to: Reading) -> dict[str, str]:
    table: Fields | None = fields.get("vars")
    if table is None:
        return {}
    public = {name for name, _ in fields.get("public", ())}
    for name, node in fields.get("public", ()):
        if name not in table:
            message = f"`env.public` names `{show(name)}`, which is not in `env.vars`"
            to.add(node, Code.BAD_VALUE, message, "remove it")
    found = {}
    for name, value, node, key in table.items():
        found[name] = value
        if name not in public and looks_secret(name, value):
            hint = (
                f"set it once with `zenkei secret set {name}` and write `secrets: [{name}]`; "
                f"if it is no secret, add `public: [{name}]` under `env`"
            )
            to.add(key, Code.SECRET, f"`{name}` in `env.vars` looks like a secret", hint)
        elif CREDENTIAL.search(value):
            hint = f"set it with `zenkei secret set {name}` and write `secrets: [{name}]`"
            to.add(node, Code.SECRET, f"the value of `{name}` in `env.vars` is a credential", hint)
    return found


def looks_secret(name: str, value: str) -> bool:
    """By the words of the name: HF_TOKEN and apiKey do, MONKEY, KEYBOARD and MAX_TOKENS do not."""
    if value.lower() in _HARMLESS:
        return False
    words = [word.upper() for word in _WORDS.split(name) if word]
    return bool(words) and (not _SECRET_WORDS.isdisjoint(words) or words[-1].endswith(_SECRET_ENDS))


class _Files:
    """Reads what `env` names, each file once, and says in which line of which file a problem is."""

    def __init__(self, to: Reading, read: Read | None) -> None:
        self._to = to
        self._read = read
        self._seen: list[str] = []

    def lock(self, fields: Fields) -> str:
        path = names.clean_path(fields.get("lock"))
        text = self._text(path, fields.at("lock"), "env.lock", LOCK_BYTES)
        if text and CREDENTIAL.search(text):
            message = f"`{show(path)}` holds a credential"
            self._to.add(fields.at("lock"), Code.SECRET, message, _CREDENTIAL_HINT)
        return text or ""

    def requirements(self, fields: Fields) -> str:
        path, node = names.clean_path(fields.get("requirements")), fields.at("requirements")
        if path.endswith(".toml"):
            lines = self._project(path, node)
        else:
            lines = self._lines(path, node)
        return "".join(f"{line}\n" for line in lines)

    def _text(self, path: str, node: Node | None, where: str, most: int) -> str | None:
        if self._read is None:
            message = f"`{where}` names `{show(path)}`, and no files can be read here"
            self._to.add(node, Code.FILE, message, "name the packages in `env.packages`")
            return None
        try:
            content = self._read(path)
        except (OSError, LookupError, ValueError, ZenkeiError) as error:
            why = getattr(error, "strerror", None) or getattr(error, "message", None) or str(error)
            message = f"`{where}` names `{show(path)}`, which cannot be read: {show(str(why))}"
            self._to.add(node, Code.FILE, message, "paths are relative to the job file")
            return None
        if len(content) > most:
            message = f"`{show(path)}` has {len(content)} bytes, the limit is {most}"
            self._to.add(node, Code.TOO_LARGE, message, "name what the job needs, not everything")
            return None
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = "\0"
        if "\0" in text:
            self._to.add(node, Code.FILE, f"`{show(path)}` is not UTF-8 text", "save it as UTF-8")
            return None
        return text.replace("\r\n", "\n")

    def _project(self, path: str, node: Node | None) -> list[str]:
        """`project.dependencies` of a pyproject.toml."""
        import tomllib

        text = self._text(path, node, "env.requirements", limits.FILE_BYTES)
        if text is None:
            return []
        try:
            project: Any = tomllib.loads(text).get("project", {})
            found = project["dependencies"]
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            message = f"`{show(path)}` is not TOML: {show(str(error))}"
            self._to.add(node, Code.FILE, message, "correct it, or name the packages here")
            return []
        except (KeyError, TypeError, AttributeError):
            message = f"`{show(path)}` has no project.dependencies"
            self._to.add(node, Code.FILE, message, "name a requirements file or `env.packages`")
            return []
        if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
            message = f"project.dependencies of `{show(path)}` is not a list of texts"
            self._to.add(node, Code.FILE, message, "correct it, or name the packages here")
            return []
        return [line for item in found if (line := self._line(item, path, 1, node))]

    def _lines(self, path: str, node: Node | None) -> list[str]:
        if path in self._seen:
            return []
        self._seen.append(path)
        if len(self._seen) > limits.INCLUDES:
            message = f"requirements files name more than {limits.INCLUDES} others"
            self._to.add(node, Code.TOO_LARGE, message, "join them into one file")
            return []
        text = self._text(path, node, "env.requirements", limits.FILE_BYTES)
        found: list[str] = []
        for number, line in _logical_lines(text or ""):
            include = _INCLUDE.fullmatch(line)
            if include is None:
                kept = self._line(line, path, number, node)
                found += [kept] if kept else []
                continue
            other = posixpath.normpath(posixpath.join(posixpath.dirname(path), include[1].strip()))
            bad = names.inner_path(other)
            if bad:
                self._complain(path, number, Code.FILE, f"`{show(line)}` cannot be used", bad)
            else:
                found += self._lines(other, node)
        return found

    def _line(self, line: str, path: str, number: int, node: Node | None) -> str:
        option = re.split(r"[\s=]", line, maxsplit=1)[0]
        if option in _REFUSED:
            message = f"`{show(line)}` is not supported"
            self._complain(path, number, Code.FILE, message, _REFUSED[option])
            return ""
        if CREDENTIAL.search(line):
            message = f"`{show(line)}` holds a credential"
            self._complain(path, number, Code.SECRET, message, _CREDENTIAL_HINT)
            return ""
        return line.strip()

    def _complain(self, path: str, number: int, code: Code, message: str, hint: str) -> None:
        self._to.add_at(number, 1, code, message, hint, file=path)


def _logical_lines(text: str) -> list[tuple[int, str]]:
    """Lines with their numbers: continuations joined, comments and blank lines gone."""
    found, waiting, first = [], "", 0
    for number, raw in enumerate(text.split("\n"), 1):
        first = first if waiting else number
        if raw.endswith("\\") and not raw.lstrip().startswith("#"):
            waiting += raw[:-1].strip() + " "
            continue
        line = _COMMENT.sub("", waiting + raw.strip()).strip()
        waiting = ""
        if line:
            found.append((first, line))
    return [*found, (first, waiting.strip())] if waiting.strip() else found
