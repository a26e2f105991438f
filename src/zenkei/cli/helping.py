"""`zenkei help`: all verbs by what they are about. Called by `entry`; imports no verb."""

from __future__ import annotations

from collections.abc import Mapping

GROUPS = {
    "Start": ("init", "run", "submit", "schema"),
    "Watch": ("ps", "show", "logs", "events", "metrics", "stacks", "wait", "explain"),
    "Steer": ("edit", "cancel", "hold", "release", "preempt", "exec"),
    "Reproduce": ("rerun", "verify", "diff"),
    "Keep": ("dataset", "result", "checkpoint", "env", "secret", "du", "prune"),
    "Cluster": ("nodes", "node", "queue", "cluster", "sim", "pause", "unpause"),
    "Machine": ("up", "down", "doctor", "completion", "version", "help"),
}
OWN = {"version": "version of this program", "help": "this list"}


def text(verbs: Mapping[str, tuple[str, str, str]]) -> str:
    """The list; a verb that stands in no group comes last (a test says there is none)."""
    lines = {verb: line for verb, (_module, _function, line) in verbs.items()} | OWN
    groups = {name: [v for v in members if v in lines] for name, members in GROUPS.items()}
    left = [v for v in lines if not any(v in members for members in groups.values())]
    if left:
        groups["More"] = left
    width = max(map(len, lines))
    out = ["usage: zenkei VERB [options]"]
    for name, members in groups.items():
        out += ["", f"{name}:", *(f"  {verb:{width}}  {lines[verb]}" for verb in members)]
    out += ["", "`zenkei VERB --help` says more. `-` is your last job, 42.7 a member of 42."]
    return "\n".join(out)
