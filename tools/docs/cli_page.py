"""`cli.md`: verbs, arguments and flags as the parsers have them."""

from __future__ import annotations

import argparse

from tools.docs.markdown import code, page, table
from zenkei.cli import describing
from zenkei.cli.entry import VERBS
from zenkei.cli.helping import GROUPS, OWN

INTRO = """
`zenkei VERB --help` shows the same. `JOB` is an id such as `42`, a member of an array such as
`42.7`, or `-` for your last job. Every verb takes `--json`; its keys are stable.
"""
COMMAND = {"run": ("[-- COMMAND]",), "submit": ("[-- COMMAND]",), "exec": ("-- COMMAND",)}
"""Verbs that pass on what stands behind `--`."""
EXITS = """
`run` and `wait` end with the job's own code. Whose code it is stands in the last line on standard
error, and in `exit.by` of `--json`.

| code | meaning |
|---|---|
| 0 | done; for `run` and `wait`: the job succeeded, or you detached with Ctrl-C |
| 2 | the command line, the job file or a setting is wrong; or the job could not be prepared |
| 4 | there is no such thing |
| 5 | you may not do this |
| 6 | its state does not allow this |
| 70 | a defect of zenkei |
| 75 | something does not answer, or a job's node was lost: trying again may help |
| 124 | the job reached its time limit |
| 130 | the job was cancelled |
| 128 + N | the job was ended by signal N |
| others | the job's own |
"""


def cli() -> str:
    parts = [
        INTRO,
        "## Exit codes",
        EXITS,
    ]
    for group, verbs in GROUPS.items():
        parts.append(f"## {group}")
        for verb in verbs:
            parts += _verb(verb)
    return page("Command line", *parts)


def _verb(verb: str) -> list[str]:
    if verb in OWN:
        usage = "version [--json]" if verb == "version" else verb
        return [f"### {verb}", _sentence(OWN[verb]), f"```text\nzenkei {usage}\n```"]
    line = VERBS[verb][2]
    parts = [f"### {verb}", _sentence(line)]
    actions = describing.actions(verb)
    if not actions:
        parts += _usage(verb, describing.parser_of(verb))
    for action, what in actions.items():
        parts += [f"#### {verb} {action}", _sentence(what)]
        parts += _usage(f"{verb} {action}", describing.parser_of(verb, action))
    return parts


def _sentence(line: str) -> str:
    return f"{line[:1].upper()}{line[1:]}."


def _usage(words: str, parser: argparse.ArgumentParser) -> list[str]:
    places = [_place(action) for action in describing.positionals(parser)]
    usage = " ".join([f"zenkei {words}", *places, "[FLAGS]", *COMMAND.get(words, ())])
    rows = [[code(_place(a)), a.help or ""] for a in describing.positionals(parser)]
    rows += [[code(_flag(a)), a.help or ""] for a in describing.flags(parser)]
    return [f"```text\n{usage}\n```", table(["argument", "meaning"], rows)]


def _place(action: argparse.Action) -> str:
    name = _metavar(action)
    return {"*": f"[{name} …]", "+": f"{name} …", "?": f"[{name}]"}.get(str(action.nargs), name)


def _flag(action: argparse.Action) -> str:
    names = ", ".join(action.option_strings)
    return names if action.nargs == 0 else f"{names} {_metavar(action)}"


def _metavar(action: argparse.Action) -> str:
    if isinstance(action.metavar, str):
        return action.metavar
    if action.choices:
        return "|".join(map(str, action.choices))
    return action.dest.upper()
