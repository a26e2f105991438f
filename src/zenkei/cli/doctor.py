"""`zenkei doctor`: what works here, what is missing, and what that would enable. Starts nothing."""

from __future__ import annotations

import os
import sys

from zenkei.cli import checks, machine, render, session
from zenkei.cli.arguments import Parser
from zenkei.cli.checks import Finding, Verdict
from zenkei.client import places

UNUSABLE = 75
COLOUR = {Verdict.OK: "32", Verdict.NOTE: "", Verdict.WARN: "33", Verdict.FAIL: "31"}


def doctor(argv: list[str]) -> int:
    """Exit code 0 unless something makes zenkei unusable."""
    args = Parser("doctor", "What works here, what is missing, what that would enable.").parse_args(
        argv
    )
    found = findings(places.home(os.environ))
    is_usable = all(one.verdict is not Verdict.FAIL for one in found)
    if args.json:
        session.print_json({"ok": is_usable, "checks": [one.view() for one in found]})
    else:
        for one in found:
            _print(one)
    return 0 if is_usable else UNUSABLE


def findings(home: str) -> list[Finding]:
    """Every check once; those that need the settings are left out where these cannot be read."""
    settings, of_settings = checks.settings_of()
    found = [machine.version(), checks.home(home), of_settings, checks.network(home)]
    if settings is not None:
        found += [checks.disk(home, settings), checks.database(home, settings)]
    return [
        *found,
        checks.socket_path(home),
        checks.daemon(home),
        machine.trust(),
        machine.clock(home),
        machine.control_groups(),
        machine.namespaces(),
        machine.datasets(),
        machine.shared_memory(),
        machine.uv(),
        machine.pythons(),
        machine.tools(),
        machine.gpus(),
    ]


def _print(one: Finding) -> None:
    verdict = render.paint(f"{one.verdict:4}", COLOUR[one.verdict], sys.stdout)
    print(f"{verdict}  {one.name}: {render.clean(one.text)}")
    if one.hint:
        print(f"      hint: {render.clean(one.hint)}")
