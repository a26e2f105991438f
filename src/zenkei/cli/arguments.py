"""argparse with zenkei's errors, and the arguments that several verbs share."""

from __future__ import annotations

import argparse
from typing import NoReturn

from zenkei.client.failure import usage


class Parser(argparse.ArgumentParser):
    """Errors are Failures (exit 2) with a hint, shown by `cli.errors` like all others."""

    def __init__(self, verb: str, about: str) -> None:
        super().__init__(prog=f"zenkei {verb}", description=about, allow_abbrev=False)
        self.add_argument("--json", action="store_true", help="machine-readable output")

    def error(self, message: str) -> NoReturn:
        raise usage(message, f"`{self.prog} --help`")

    def jobs(self, many: bool = True) -> None:
        """Positional job ids."""
        what = "42, a member 42.7, or - for your last job"
        if many:
            self.add_argument("jobs", nargs="+", metavar="JOB", help=what)
        else:
            self.add_argument("job", metavar="JOB", help=what)
