"""`zenkei secret set|ls|rm`: keys of a project; values come from standard input only.

Arguments stand in the shell's history and in /proc for everybody; standard input does not.
"""

from __future__ import annotations

import sys

from zenkei.cli import render, session
from zenkei.cli.arguments import Parser
from zenkei.cli.nouns import Action, act
from zenkei.client.client import segment
from zenkei.client.failure import usage

MOST_BYTES = 64 << 10


def secret(argv: list[str]) -> int:
    return act("secret", ACTIONS["secret"], argv)


def set_(argv: list[str]) -> int:
    """One newline at the end is taken off, since `echo` adds one; --exact keeps every byte."""
    parser = _parser("set", "Set a secret; the value comes on standard input.")
    parser.add_argument("name", metavar="NAME", help="name of the secret")
    parser.add_argument("--exact", action="store_true", help="keep a newline at the end")
    args = parser.parse_args(argv)
    value = _value(args.name, exact=args.exact)
    client = session.open()
    answer = client.put(f"/v1/secrets/{segment(args.name)}", value, project=args.project)
    if args.json:
        session.print_json(answer)
    else:
        print(f"secret {render.clean(args.name)} of project {render.clean(args.project)} is set")
    return 0


def list_(argv: list[str]) -> int:
    args = _parser("ls", "Names of a project's secrets.").parse_args(argv)
    answer = session.open().get("/v1/secrets", project=args.project)
    if args.json:
        session.print_json(answer)
    elif answer["names"]:
        print("\n".join(map(render.clean, answer["names"])))
    else:
        print(f"zenkei: project {render.clean(args.project)} has no secrets", file=sys.stderr)
    return 0


def remove(argv: list[str]) -> int:
    parser = _parser("rm", "Remove a secret.")
    parser.add_argument("name", metavar="NAME", help="name of the secret")
    args = parser.parse_args(argv)
    answer = session.open().delete(f"/v1/secrets/{segment(args.name)}", project=args.project)
    if args.json:
        session.print_json(answer)
    return 0


def _parser(action: str, about: str) -> Parser:
    parser = Parser(f"secret {action}", about)
    parser.add_argument("--project", default="default", metavar="NAME", help="default: default")
    return parser


def _value(name: str, *, exact: bool) -> bytes:
    if sys.stdin is None or sys.stdin.closed:
        raise usage("there is no standard input to read the value from")
    if sys.stdin.isatty():
        import getpass

        return getpass.getpass(f"value of {render.clean(name)} (not shown): ").encode()
    value = sys.stdin.buffer.read(MOST_BYTES + 2)
    if exact:
        return value
    return value.removesuffix(b"\n").removesuffix(b"\r")


ACTIONS: dict[str, dict[str, Action]] = {
    "secret": {
        "set": (set_, "set a secret from standard input"),
        "ls": (list_, "names of a project's secrets"),
        "rm": (remove, "remove a secret"),
    }
}
