"""`--tolerance`, `--ignore`: how far apart two numbers may lie. For `verify` and `result diff`."""

from __future__ import annotations

import argparse
from typing import Any

from zenkei.cli.arguments import Parser
from zenkei.client.failure import usage

HINT = "such as --tolerance 1e-6, or --tolerance 'loss*=1e-3' for some metrics or files"


def add_tolerance(parser: Parser) -> None:
    parser.add_argument(
        "--tolerance",
        action="append",
        default=[],
        metavar="T|NAME=T",
        help="numbers this close are equal enough, relative or absolute; NAME is a pattern of "
        "metrics and paths",
    )
    parser.add_argument(
        "--ignore",
        action="append",
        default=[],
        metavar="NAME",
        help="metrics and files that are not compared; a pattern such as '*_seconds'",
    )


def tolerance_of(args: argparse.Namespace) -> dict[str, Any]:
    """The form that the server takes."""
    if "" in args.ignore:
        raise usage("--ignore needs a name", "such as --ignore '*_seconds'")
    everywhere, named = 0.0, {}
    for text in args.tolerance:
        name, equals, value = text.rpartition("=")
        found = _number(value, text)
        if equals and not name:
            raise usage(f"--tolerance {text[:60]}: there is no name before `=`", HINT)
        if equals:
            named[name] = found
        else:
            everywhere = found
    return {"everywhere": everywhere, "named": named, "ignored": args.ignore}


def _number(value: str, text: str) -> float:
    try:
        found = float(value)
    except ValueError:
        found = -1.0
    # a comparison with nan is false
    if 0 <= found <= 1e300:
        return found
    raise usage(f"--tolerance {text[:60]}: {value[:40]!r} is not a number from 0 on", HINT)
