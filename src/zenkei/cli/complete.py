"""`zenkei _complete`: what may stand next, one word a line. Called by the shell at each TAB.

Hot: imports the client only, and for flags the one module of the verb. Job ids come from a daemon
that runs; none is started for a TAB, and whatever goes wrong means: nothing to offer.
"""

from __future__ import annotations

import os

from zenkei.cli.entry import VERBS
from zenkei.client import places

MOST_JOBS = 50
ONLY = {
    # verb: states of jobs that it can be used on; others take any
    "cancel": "held,preparing,pending,starting,running,stopping",
    "edit": "held,preparing,pending",
    "hold": "preparing,pending,starting,running",
    "release": "held",
    "preempt": "starting,running",
    "exec": "running",
    "explain": "held,preparing,pending",
}
JOBS = frozenset(
    [*ONLY, "show", "logs", "events", "wait", "rerun", "verify", "diff", "metrics", "stacks"]
)  # verbs whose arguments are jobs
NOUNS = {
    "dataset": False,
    "result": True,
    "checkpoint": True,
    "env": False,
    "secret": False,
    "node": False,
}
"""Verbs of two words, and whether the third is a job."""
NOUNS |= {"queue": False, "cluster": False}
WORDS = {"schema": ["job", "cluster"], "completion": ["bash", "zsh", "fish"]}
"""Verbs that take one of these words."""


def complete(argv: list[str]) -> int:
    """argv: the words after `zenkei`, the last one being typed (perhaps empty)."""
    try:
        offered = offers(argv or [""])
    except Exception:  # noqa: BLE001 - a TAB never fails
        return 0
    typed = argv[-1] if argv else ""
    for word in offered:
        if word.startswith(typed):
            print(word)
    return 0


def offers(words: list[str]) -> list[str]:
    """All that may stand in the place of the last word."""
    *before, typed = words
    if not before:
        return [*VERBS, "version", "help"]
    verb = before[0]
    if verb not in VERBS or "--" in before:
        return []
    if typed.startswith("-"):
        return _flags(before)
    if verb in NOUNS and len(before) == 1:
        return _actions(verb) + (jobs("") if NOUNS[verb] else [])
    if before[-1] == "--queue":
        return queues()
    if verb in JOBS or (NOUNS.get(verb) and len(before) == 2):
        return jobs(ONLY.get(verb, ""))
    if verb == "queue" and len(before) == 2 and before[1] in ("pause", "resume"):
        return queues()
    return WORDS.get(verb, [])


def jobs(states: str) -> list[str]:
    """Ids of the newest jobs, newest first, and `-`."""
    from zenkei.client.client import Client

    client = Client(places.home(os.environ))
    rows = client.get("/v1/jobs", state=states, limit=MOST_JOBS)["jobs"]
    found = dict.fromkeys(str(row["id"]) for row in rows)
    return [*found, "-"]


def queues() -> list[str]:
    """Names of all queues."""
    from zenkei.client.client import Client

    found = Client(places.home(os.environ)).get("/v1/queues")["queues"]
    return [str(one["name"]) for one in found]


def _actions(verb: str) -> list[str]:
    from zenkei.cli import describing

    return list(describing.actions(verb))


def _flags(before: list[str]) -> list[str]:
    from zenkei.cli import describing

    actions = describing.actions(before[0]) if before[0] in NOUNS else {}
    action = before[1] if len(before) > 1 and before[1] in actions else ""
    if actions and not action:
        return []
    parser = describing.parser_of(before[0], action)
    return [flag for one in describing.flags(parser) for flag in one.option_strings]
