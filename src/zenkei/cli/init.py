"""`zenkei init`: a first, commented job.yaml from what stands in a directory. No daemon needed."""

from __future__ import annotations

import os
import stat
import tempfile

from zenkei import spec
from zenkei.cli import render, session
from zenkei.cli.arguments import Parser
from zenkei.client.failure import Failure, usage

FILE = "job.yaml"
MOST_NAMES = 1000
MOST_BYTES = 64 << 10
READ = (".py", "pyproject.toml", ".python-version")


def init(argv: list[str]) -> int:
    """Write the file; an existing one is kept, unless --force."""
    parser = Parser("init", "Write a commented job.yaml from what stands in a directory.")
    parser.add_argument("directory", nargs="?", default=".", metavar="DIR", help="default: here")
    parser.add_argument("--force", action="store_true", help="replace an existing job.yaml")
    parser.add_argument("--print", action="store_true", help="print it instead of writing it")
    args = parser.parse_args(argv)
    folder = os.path.abspath(args.directory)
    if not os.path.isdir(folder):
        raise usage(f"`{args.directory}` is not a directory")
    text = spec.init(_seen(folder), directory=os.path.basename(folder))
    path = os.path.join(args.directory, FILE)
    if not args.print:
        _write(folder, text, replace=args.force)
    if args.json:
        session.print_json({"path": path, "written": not args.print, "text": text})
    elif args.print:
        print(text, end="")
    else:
        print(f"{render.clean(os.path.normpath(path))} is written; `zenkei run` starts it")
    return 0


def _seen(folder: str) -> dict[str, str]:
    """Names of the files there; with text where it tells something."""
    found: dict[str, str] = {}
    with os.scandir(folder) as listing:
        for entry in listing:
            if len(found) >= MOST_NAMES:
                break
            if entry.is_file(follow_symlinks=False):
                found[entry.name] = _text(entry.path) if entry.name.endswith(READ) else ""
    return found


def _text(path: str) -> str:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""  # it is named in the file all the same
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return ""
        return file.read(MOST_BYTES).decode("utf-8", "replace")


def _write(folder: str, text: str, *, replace: bool) -> None:
    """Whole or not at all; whoever made a job.yaml in the meantime keeps theirs."""
    target = os.path.join(folder, FILE)
    try:
        fd, temporary = tempfile.mkstemp(prefix=f".{FILE}.", dir=folder)
        try:
            with os.fdopen(fd, "w", encoding="utf-8") as file:
                file.write(text)
                os.fchmod(fd, 0o666 & ~_umask())
            if replace:
                os.replace(temporary, target)
            else:
                os.link(temporary, target)
        finally:
            if os.path.lexists(temporary):
                os.unlink(temporary)
    except FileExistsError:
        text = f"there is a {FILE} already in {folder}"
        hint = "--force replaces it, --print shows what would be written"
        raise Failure("job-file-exists", text, hint=hint, exit_code=6) from None
    except OSError as error:
        text = f"{target} cannot be written: {error.strerror}"
        raise Failure("file-not-written", text, exit_code=2) from error


def _umask() -> int:
    now = os.umask(0o077)
    os.umask(now)
    return now
