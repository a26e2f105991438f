"""`zenkei VERB …`: looks at the verb and imports the one module that does it.

The console script calls `main`. Kept to `sys` so that a verb pays for nothing but itself.
"""

from __future__ import annotations

import sys

VERBS: dict[str, tuple[str, str, str]] = {
    # verb: (module of zenkei.cli, function, one line of help)
    "run": ("run", "run", "submit a job and follow it"),
    "submit": ("run", "submit", "submit a job and return (run --detach)"),
    "ps": ("ps", "ps", "list jobs"),
    "show": ("show", "show", "everything about a job"),
    "logs": ("logs", "logs", "output of a job"),
    "wait": ("wait", "wait", "wait until jobs are over and their results are kept"),
    "cancel": ("cancel", "cancel", "end jobs for good"),
    "edit": ("edit", "edit", "change what a job asks for while it waits"),
    "hold": ("cancel", "hold", "keep jobs from starting; running ones are stopped and held"),
    "release": ("cancel", "release", "let held jobs go on"),
    "preempt": ("cancel", "preempt", "take a job's devices: checkpoint, stop, back into the line"),
    "rerun": ("cancel", "rerun", "run a job again as a new job"),
    "verify": ("verify", "verify", "run a job again and say whether it came to the same"),
    "diff": ("diff", "diff", "what is not the same about two jobs, most suspicious first"),
    "init": ("init", "init", "write a commented job.yaml from what stands in a directory"),
    "schema": ("schema", "schema", "the JSON Schema of job and cluster files, for editors"),
    "events": ("events", "events", "what happened to a job, in order"),
    "metrics": ("metrics", "metrics", "latest values that a job has reported"),
    "explain": ("explain", "explain", "why a job waits, and what would help"),
    "exec": ("execute", "execute", "run a command in a running job"),
    "stacks": ("stacks", "stacks", "where the ranks of a job are, or were when it hung"),
    "checkpoint": ("checkpoint", "checkpoint", "what a job can go on from; ask for a new one"),
    "result": ("result", "result", "files and record that a job has left"),
    "dataset": ("dataset", "dataset", "datasets: versions, tags, who may use them"),
    "env": ("env", "env", "environments on this machine"),
    "secret": ("secret", "secret", "keys of a project, given to its jobs"),
    "du": ("du", "du", "what zenkei keeps on this disk"),
    "prune": ("prune", "prune", "forget old jobs and free what they kept"),
    "nodes": ("nodes", "nodes", "machines, what of them is free, who has the rest"),
    "node": ("node", "node", "one machine: drain, resume, label, what happened to it"),
    "cluster": ("cluster", "cluster", "the cluster's file: queues, limits, reservations, policy"),
    "queue": ("queue", "queue", "queues: who has how much, who waits; pause and resume"),
    "sim": ("sim", "sim", "a trace through the production scheduler, in virtual time"),
    "pause": ("queue", "pause", "let nothing start any more; what runs goes on"),
    "unpause": ("queue", "unpause", "let jobs start again"),
    "doctor": ("doctor", "doctor", "what works here, what is missing, what that would enable"),
    "completion": ("completion", "completion", "completion script for bash, zsh or fish"),
    "up": ("daemon", "up", "start the daemon; declare virtual nodes"),
    "down": ("daemon", "down", "stop the daemon; with --jobs also everything that runs"),
}
HIDDEN = {"-V": "version", "--version": "version", "-h": "help", "--help": "help"}


def main(argv: list[str] | None = None) -> int:
    """Do what `argv` says; returns the exit code. Nothing but SystemExit leaves it."""
    args = sys.argv[1:] if argv is None else argv
    verb = HIDDEN.get(args[0], args[0]) if args else "help"
    if verb == "_complete":
        from zenkei.cli.complete import complete

        return complete(args[1:])
    try:
        return _do(verb, args[1:])
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return _pipe_closed()
    except Exception as error:  # noqa: BLE001 - the last place where it can be told to a person
        from zenkei.cli import errors

        return errors.report(error, as_json=_wants_json(args))


def _do(verb: str, args: list[str]) -> int:
    if verb == "version":
        code = _version(args)
    elif verb != "help":
        code = _call(verb, args) if verb in VERBS else _unknown(verb)
    elif args and not args[0].startswith("-"):  # `zenkei help run`
        return _do(args[0], ["--help"]) if args[0] not in ("help", "version") else _help()
    else:
        code = _help()
    sys.stdout.flush()
    return code


def _call(verb: str, args: list[str]) -> int:
    from importlib import import_module

    module, function, _help_line = VERBS[verb]
    return int(getattr(import_module(f"zenkei.cli.{module}"), function)(args))


def _wants_json(args: list[str]) -> bool:
    """`--json` before the `--` that starts a job's own command."""
    own = args[: args.index("--")] if "--" in args else args
    return "--json" in own


def _version(args: list[str]) -> int:
    from zenkei import __version__

    if "--json" in args:
        from zenkei.api.version import PROTOCOL

        print(f'{{"version": "{__version__}", "protocol": {PROTOCOL}}}')
    else:
        print(f"zenkei {__version__}")
    return 0


def _help() -> int:
    from zenkei.cli import helping

    print(helping.text(VERBS))
    return 0


def _unknown(verb: str) -> int:
    import difflib

    from zenkei.client.failure import usage

    near = difflib.get_close_matches(verb, [*VERBS, "version", "help"], 1)
    hint = f"did you mean `{near[0]}`?" if near else "`zenkei help` lists all verbs"
    if verb.startswith("-") and not near:
        hint = "options come after the verb, as in `zenkei ps --all`"
    raise usage(f"`{verb[:60]}` is not a verb of zenkei", hint)


def _pipe_closed() -> int:
    """Whoever read our output is gone (`zenkei ps | head`); end as other programs do."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 128 + 13


if __name__ == "__main__":
    sys.exit(main())
