"""`zenkei run` and `submit`: a job file, or flags and a command, becomes a job, and is followed.

The file travels as it is and the daemon parses it; `--check` parses here, without a daemon. One
request submits and follows: its answer is the event stream.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

from zenkei.cli import session
from zenkei.cli.arguments import Parser
from zenkei.cli.following import MOST_SHOWN, Follower, detached, follow
from zenkei.client.failure import Disconnected, Failure, usage
from zenkei.client.sse import Message

MOST_FILE_BYTES = 1 << 20
DEFAULT_FILE = "job.yaml"
COMMAND_HINT = "zenkei run -- python train.py"
PROGRAMS = (".py", ".sh")
FLAGS = {
    # flag: (path of keys in a job file, metavar, help)
    "name": ("name", "TEXT", "name of the job"),
    "project": ("project", "NAME", "project it belongs to"),
    "queue": ("queue", "NAME", "queue it waits in"),
    "priority": ("priority", "N", "higher goes first"),
    "nodes": ("resources.nodes", "N", "nodes that start together"),
    "ranks": ("resources.ranks", "N", "processes on each node; by default one per GPU or one"),
    "gpus": ("resources.gpus", "N", "GPUs per node; 0.5 is half of one"),
    "gpu-type": ("resources.gpu_type", "MODEL", "model of the GPUs"),
    "cpus": ("resources.cpus", "N", "CPU cores per node"),
    "memory": ("resources.memory", "SIZE", "memory per node, such as 16GiB"),
    "tmp": ("resources.tmp", "SIZE", "temporary space per node"),
    "env-python": ("env.python", "VERSION", 'Python version, such as "3.11"'),
    "env-requirements": ("env.requirements", "FILE", "requirements file"),
    "launcher": ("launcher", "NAME", "none, torchrun, mpi or jax"),
    "time-limit": ("time_limit", "TIME", "such as 1.5h"),
    "seed": ("seed", "N", "seed for the job's dice"),
    "retry": ("retry", "N", "more attempts after a failure"),
    "outputs": ("outputs", "DIR", "directory whose content is the result"),
    "array": ("array", "N", "so many members"),
}


def submit(argv: list[str]) -> int:
    """`run --detach`."""
    return run(["--detach", *argv])


def run(argv: list[str]) -> int:
    """See the module's docstring; returns the job's own exit code."""
    own, command = _split(argv)
    args = _parser().parse_args(own)
    body, query = _from_command(args, command) if command is not None else _from_file(args)
    if args.check:
        from zenkei.cli import checking

        return checking.check(body, query, as_json=args.json)
    if args.detach and args.output is not None:
        flag = "--output" if args.output else "--no-output"
        raise usage(f"{flag} goes with following a job, not with --detach", "leave one out")
    query |= {"hold": args.hold, "key": os.urandom(16).hex()}
    try:
        return _submitted(body, query, args)
    except Failure as failure:
        raise _in_flags(failure) if command is not None else failure from None


def _submitted(body: Any, query: dict[str, Any], args: Any) -> int:
    client = session.open()
    if args.detach:
        return _detach(client, body, query, args)
    shown: dict[str, Any] = {
        "logs": args.output is not False,
        "most_members": 0 if args.output else MOST_SHOWN,
    }
    follower = Follower(as_json=args.json, output=shown["logs"])
    try:
        first = _submission(client, body, query, shown)
        follow(client, follower, first, "/v1/jobs/{job}/follow", **shown)
    except KeyboardInterrupt:
        return detached(follower.job, as_json=args.json)
    return follower.exit_code


def _in_flags(failure: Failure) -> Failure:
    """Who wrote flags is told of flags, not of the keys that they stand for."""

    def named(text: str) -> str:
        for flag, (key, _metavar, _help) in FLAGS.items():
            text = text.replace(f"`{key}`", f"`--{flag}`")
        return text

    problems = [
        {**one, "message": named(one["message"]), "hint": named(one["hint"])}
        for one in failure.problems
    ]
    message, hint = named(failure.message), named(failure.hint)
    return Failure(
        failure.code,
        message,
        hint=hint,
        exit_code=failure.exit_code,
        details=failure.details,
        problems=problems,
    )


def _submission(
    client: session.Session, body: Any, query: dict[str, Any], shown: dict[str, Any]
) -> Iterator[Message]:
    """The stream of a submit. If the daemon dies before it said which job, the request is repeated:

    the key makes that harmless. If the tree changed meanwhile, the job of the first request stands.
    """
    first = {"quiet": not shown["logs"], "most_members": shown["most_members"]}
    for last in (False, False, True):
        known = False
        try:
            for message in client.stream("POST", "/v1/jobs", body, follow=True, **query, **first):
                known = known or message.event == "job"
                yield message
            return
        except Disconnected:
            if last or known:
                raise
        except Failure as failure:
            job = failure.details.get("job")
            if failure.code != "request-key-reused" or not job:
                raise
            yield from client.stream("GET", f"/v1/jobs/{job}/follow", **shown)
            return


def _detach(client: session.Session, body: Any, query: dict[str, Any], args: Any) -> int:
    try:
        made = client.post("/v1/jobs", body, **query)
    except Disconnected:
        # the key makes a second request harmless
        made = client.post("/v1/jobs", body, **query)
    if args.json:
        session.print_json(made)
        return 0
    from zenkei.cli.render import clean

    for warning in made["warnings"]:
        print(f"zenkei: warning: {clean(warning)}", file=sys.stderr)
    print(made["id"])
    return 0


def _split(argv: list[str]) -> tuple[list[str], list[str] | None]:
    """What is zenkei's, and the command after the first `--`."""
    if "--" not in argv:
        return argv, None
    at = argv.index("--")
    return argv[:at], argv[at + 1 :]


class _RunParser(Parser):
    """Words that stand too much are a command whose `--` was forgotten."""

    def unknown(self, word: str) -> tuple[str, str]:
        if word.startswith("-"):
            return super().unknown(word)
        return f"`{word[:60]}`: the command of a job comes after `--`", COMMAND_HINT


def _parser() -> Parser:
    parser = _RunParser("run", "Submit a job and follow it: a job file, or flags and `-- COMMAND`.")
    parser.add_argument("file", nargs="?", metavar="JOB.YAML", help="default: job.yaml here")
    parser.add_argument("-f", "--file", dest="file_option", metavar="FILE", help="`-` reads stdin")
    parser.add_argument("--check", action="store_true", help="only say what is wrong with it")
    parser.add_argument("-d", "--detach", action="store_true", help="print the id and return")
    parser.add_argument("--hold", action="store_true", help="submit it held")
    parser.add_argument(
        "--output",
        action="store_const",
        const=True,
        help=f"show the output of an array of more than {MOST_SHOWN} members too",
    )
    parser.add_argument(
        "-q",
        "--no-output",
        dest="output",
        action="store_const",
        const=False,
        help="show no output of the job, only how it goes",
    )
    parser.add_argument("--no-code", action="store_true", help="leave the working tree here")
    for flag, (_key, metavar, text) in FLAGS.items():
        parser.add_argument(f"--{flag}", metavar=metavar, help=text)
    parser.add_argument(
        "-p", "--env-package", action="append", default=[], metavar="NAME", help="Python package"
    )
    parser.add_argument(
        "-e", "--env", action="append", default=[], metavar="NAME=VALUE", help="variable"
    )
    return parser


def _given(args: Any) -> dict[str, str]:
    """Flags that stand on the command line, by their key in a job file."""
    named = {key: getattr(args, flag.replace("-", "_")) for flag, (key, _, _) in FLAGS.items()}
    return {key: value for key, value in named.items() if value is not None}


def _from_file(args: Any) -> tuple[bytes, dict[str, Any]]:
    flags = [f for f, (key, _, _) in FLAGS.items() if key in _given(args)]
    flags += [f for f in ("env-package", "env") if getattr(args, f.replace("-", "_"))]
    if flags or args.no_code:
        name = flags[0] if flags else "no-code"
        raise usage(f"--{name} goes with `-- COMMAND`, not with a job file", "put it into the file")
    if args.file is not None and args.file_option is not None:
        raise usage(f"two job files: {args.file} and {args.file_option}", "give one")
    path = args.file_option or args.file or DEFAULT_FILE
    if path == "-":
        return _bounded(sys.stdin.buffer, "stdin"), {"source": os.getcwd(), "file": "-"}
    if path.endswith(PROGRAMS):
        raise usage(f"{path} is a program, not a job file", f"zenkei run -- {_started(path)}")
    try:
        with open(path, "rb") as file:
            body = _bounded(file, path)
    except OSError as error:
        raise _unreadable(path, error) from error
    folder, name = os.path.split(os.path.abspath(path))
    return body, {"source": folder, "file": name}


def _started(path: str) -> str:
    return f"{'python' if path.endswith('.py') else 'sh'} {path}"


def _bounded(file: Any, name: str) -> bytes:
    body: bytes = file.read(MOST_FILE_BYTES + 1)
    if len(body) > MOST_FILE_BYTES:
        raise Failure("spec-too-large", f"{name} is longer than 1 MiB", exit_code=2)
    return body


def _unreadable(path: str, error: OSError) -> Failure:
    hint = "`zenkei init` writes one; `zenkei run -- COMMAND` needs none"
    hint = hint if path == DEFAULT_FILE else f"give the path of a job file, or: {COMMAND_HINT}"
    return Failure(
        "no-job-file", f"the job file {path} cannot be read: {error.strerror}", hint=hint,
        exit_code=2,
    )  # fmt: skip


def _from_command(args: Any, command: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    if not command:
        raise usage("no command after `--`", COMMAND_HINT)
    if args.file is not None or args.file_option is not None:
        raise usage(f"both a job file ({args.file or args.file_option}) and a command", "give one")
    flags: dict[str, Any] = {}
    for key, value in _given(args).items():
        section, _, name = key.rpartition(".")
        (flags.setdefault(section, {}) if section else flags)[name] = value
    if args.env_package:
        flags.setdefault("env", {})["packages"] = args.env_package
    if args.env:
        flags.setdefault("env", {})["vars"] = dict(_variable(text) for text in args.env)
    if args.no_code:
        flags["code"] = False
    flags.setdefault("name", _name_of(command[0]))
    source = os.getcwd()
    body = {"command": [_text(word) for word in command], "flags": flags}
    return body, {"source": source, "home": _is_home(source)}


def _name_of(program: str) -> str:
    """A job without a name is called by its program."""
    name = "".join(c if c.isalnum() or c in "._-" else "-" for c in os.path.basename(program))
    return name.strip("._-")[:40] or "job"


def _text(word: str) -> str:
    """Bytes that are no UTF-8 cannot stand in a job's command."""
    try:
        word.encode()
    except UnicodeEncodeError:
        raise usage(f"{word!r} is no valid text", "the command of a job is UTF-8") from None
    return word


def _is_home(folder: str) -> bool:
    """Here, `run -- COMMAND` leaves the tree alone: nobody means to send a whole home directory."""
    return os.path.realpath(folder) in ("/", os.path.realpath(os.path.expanduser("~")))


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise usage(f"--env {text}: no value", "--env NAME=VALUE")
    return name, value
