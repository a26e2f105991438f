"""argparse with zenkei's errors, and the arguments that several verbs share."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from typing import NoReturn

from zenkei.client.failure import usage

_ARGPARSE = (
    # what argparse says: what a person is told
    (re.compile(r"argument (?:\S+/)?(\S+): expected one argument"), r"\1 needs a value"),
    (re.compile(r"argument (?:\S+/)?(\S+): expected at least one argument"), r"\1 needs a value"),
    (re.compile(r"the following arguments are required: (.*)"), r"\1 is missing"),
    (
        re.compile(r"argument (?:\S+/)?(\S+): invalid choice: '(.*)' \(choose from (.*)\)"),
        r"\1: `\2` is not one of \3",
    ),
)
_UNKNOWN = re.compile(r"unrecognized arguments: (\S*).*", re.DOTALL)


class Parser(argparse.ArgumentParser):
    """Errors are Failures (exit 2) with a hint, shown by `cli.errors` like all others."""

    def __init__(self, verb: str, about: str) -> None:
        super().__init__(prog=f"zenkei {verb}", description=about, allow_abbrev=False)
        self.add_argument("--json", action="store_true", help="machine-readable output")

    def error(self, message: str) -> NoReturn:
        unknown = _UNKNOWN.fullmatch(message)
        if unknown is not None:
            raise usage(*self.unknown(unknown[1]))
        for pattern, words in _ARGPARSE:
            message = pattern.sub(words, message)
        hint = "`-` is your last job; `zenkei ps --all` lists all" if message[:3] == "JOB" else ""
        raise usage(message, hint or f"`{self.prog} --help`")

    def unknown(self, word: str) -> tuple[str, str]:
        """Message and hint for a word that the verb does not take."""
        if not word.startswith("-"):
            return f"`{word[:60]}` is one word too many for `{self.prog}`", f"`{self.prog} --help`"
        from difflib import get_close_matches

        flags = [flag for action in self._actions for flag in action.option_strings]
        near = get_close_matches(word.partition("=")[0], flags, 1)
        hint = f"did you mean `{near[0]}`?" if near else f"`{self.prog} --help`"
        return f"`{word[:60]}` is not an option of `{self.prog}`", hint

    def jobs(self, many: bool = True, least: int = 1) -> None:
        """Positional job ids. least 0: there may be none."""
        what = "42, a member 42.7, or - for your last job"
        if many:
            self.add_argument(
                "jobs", nargs="+" if least else "*", metavar="JOB", help=what, type=_job
            )
        else:
            self.add_argument("job", metavar="JOB", help=what, type=_job)

    def whole(
        self,
        *flags: str,
        least: int,
        most: int,
        help: str,  # noqa: A002 - as argparse calls it
        default: int | None = None,
        metavar: str = "N",
        hint: str = "",
    ) -> None:
        """An option that takes a whole number; another value is refused with what it may be."""
        kind = _number(int, flags[-1], least, most, hint or f"`{self.prog} --help`")
        self.add_argument(*flags, type=kind, default=default, metavar=metavar, help=help)

    def amount(
        self,
        *flags: str,
        least: float,
        most: float,
        help: str,  # noqa: A002 - as argparse calls it
        metavar: str = "N",
        hint: str = "",
    ) -> None:
        """The same for any number."""
        kind = _number(float, flags[-1], least, most, hint or f"`{self.prog} --help`")
        self.add_argument(*flags, type=kind, default=None, metavar=metavar, help=help)


def _job(text: str) -> str:
    """The daemon knows what an id is; who reads of attempts takes theirs for one."""
    job, slash, attempt = text.partition("/")
    if slash:
        hint = f"such as `zenkei logs {job[:30]} --attempt {attempt[:10]}`"
        raise usage(f"`{text[:60]}` names an attempt, not a job", hint)
    return text


def _number(
    kind: type[int | float], flag: str, least: float, most: float, hint: str
) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = kind(0) if least > 0 else kind(-1)
        # a comparison with nan is false
        if least <= value <= most:
            return value
        what = "a whole number" if kind is int else "a number"
        raise usage(f"{flag} {text[:60]}: not {what} from {least} to {most}", hint)

    return read
