"""What a verb takes, learned from the verb itself: for completion and the reference.

Called by `completion`, `tools.docs` and tests; never by a verb at work. The verb is called with a
Parser that stops it before it has parsed or done anything, so no second list of flags can differ.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import import_module
from typing import Any, NoReturn

from zenkei.cli import arguments
from zenkei.cli.entry import VERBS


class _Described(Exception):
    """Carries the parser out of the verb."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        super().__init__()
        self.parser = parser


def actions(verb: str) -> dict[str, str]:
    """The second words of a noun (`env list`) with a line of help; empty for a plain verb."""
    module = import_module(f"zenkei.cli.{VERBS[verb][0]}")
    found = getattr(module, "ACTIONS", {}).get(verb, {})
    return {name: line for name, (_function, line) in found.items()}


def parser_of(verb: str, action: str = "") -> argparse.ArgumentParser:
    """The parser that `zenkei VERB [ACTION]` would use."""
    module_name, function, _line = VERBS[verb]
    module = import_module(f"zenkei.cli.{module_name}")
    call: Callable[[list[str]], Any] = getattr(module, function)
    if action:
        call = module.ACTIONS[verb][action][0]
    before = arguments.Parser.parse_args
    arguments.Parser.parse_args = _stop  # type: ignore[method-assign,assignment]
    try:
        call([])
    except _Described as described:
        return described.parser
    finally:
        arguments.Parser.parse_args = before  # type: ignore[method-assign]
    raise AssertionError(f"`zenkei {verb} {action}` does something before it parses")


def flags(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Options but `--help`."""
    return [a for a in parser._actions if a.option_strings and a.dest != "help"]


def positionals(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return [a for a in parser._actions if not a.option_strings]


def _stop(parser: argparse.ArgumentParser, *_args: Any, **_kwargs: Any) -> NoReturn:
    raise _Described(parser)
