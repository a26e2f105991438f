"""The table's sections: keys that stand under `env`, `resources`, `code`, `retry`, `after`, ...

Part of the table in `keys`, which joins them to the file and explains the columns.
"""

from __future__ import annotations

from typing import Final

from zenkei.spec import limits, names
from zenkei.spec.kinds import Boolean, Choice, Duration, Integer, Job, Milli, Raw, Size, Text
from zenkei.spec.shapes import Either, Items, Key, Section, Table

PATH: Final = Text(wants="a relative path", most=limits.PATH_CHARS, rule=names.inner_path)
LEVEL: Final = Text(
    wants="a level such as rack",
    most=limits.PLACE_CHARS,
    pattern=names.PLACE_PATTERN,
    rule=names.place_name,
    hint="`zenkei nodes` shows the nodes; `cluster.yaml` names the levels",
)
TOPOLOGY: Final = Section(
    name="topology",
    synonyms={"require": "required", "must": "required", "prefer": "preferred"},
    keys=(
        Key(
            "required",
            LEVEL,
            "All nodes in one domain of this level; the job waits until that can be.",
            "rack",
        ),
        Key(
            "preferred",
            LEVEL,
            "All nodes in one domain of this level if that can be now, else in as few as can be.",
            "leaf",
        ),
    ),
)
_PATTERN: Final = Text(wants="a file pattern", most=limits.PATH_CHARS, rule=names.pattern)
_PACKAGE: Final = Text(wants="a package such as numpy>=2", most=limits.PACKAGE_CHARS)

ENV: Final = Section(
    name="env",
    synonyms={"pip": "packages", "dependencies": "packages", "variables": "vars", "env": "vars"},
    keys=(
        Key(
            "python",
            Text(
                wants="a version such as 3.11",
                most=20,
                pattern=r"3(\.\d{1,3}){1,2}",
                hint='a version has two or three parts: "3.11" or "3.11.7"',
            ),
            "Python version of the job.",
            "3.11",
            "the Python that runs zenkei",
        ),
        Key(
            "packages",
            Items(of=_PACKAGE, most=limits.PACKAGES),
            "Python packages, each as pip would take it.",
            "[numpy>=2]",
        ),
        Key(
            "requirements",
            PATH,
            "A requirements file, or a pyproject.toml whose project.dependencies are meant.",
            "requirements.txt",
        ),
        Key(
            "lock",
            PATH,
            "A lock file with hashes: a pylock.toml, or a requirements file with --hash.",
            "pylock.toml",
        ),
        Key(
            "system",
            Items(of=_PACKAGE, most=limits.PACKAGES),
            "System packages.",
            "[ffmpeg]",
            later="system packages need an image; use a Python wheel where one exists",
        ),
        Key(
            "vars",
            Table(
                of=Raw(templates=True, most_bytes=limits.VALUE_BYTES),
                most=limits.VARIABLES,
                check=names.variable,
                wants="a mapping of variable names to values",
                pattern=names.VARIABLE_PATTERN,
            ),
            "Environment variables; ${{ matrix.x }} and ${{ array.index }} are replaced. "
            "Secrets do not belong here: see `secrets`.",
        ),
        Key(
            "public",
            Items(of=Text(wants="a variable name", pattern=names.VARIABLE_PATTERN), most=100),
            "Names in `vars` that look like secrets and are none.",
            "[SORT_KEY]",
        ),
        Key(
            "build",
            Boolean(),
            "Allow packages without a wheel; their set-up code is then run, without secrets.",
            default="false",
        ),
    ),
)

RESOURCES: Final = Section(
    name="resources",
    synonyms={
        "mem": "memory",
        "ram": "memory",
        "cores": "cpus",
        "vcpus": "cpus",
        "gpu_model": "gpu_type",
        "disk": "tmp",
        "tasks_per_node": "ranks",
        "processes": "ranks",
    },
    keys=(
        Key(
            "nodes",
            Either(
                scalar=Integer(least=1, most=limits.NODES),
                mapping=Section(
                    name="resources.nodes",
                    keys=(
                        Key(
                            "min",
                            Integer(least=1, most=limits.NODES),
                            "With so many nodes it starts, if no more are free.",
                            "2",
                            "1",
                        ),
                        Key(
                            "max",
                            Integer(least=1, most=limits.NODES),
                            "It takes up to so many.",
                            "8",
                        ),
                    ),
                    synonyms={"least": "min", "most": "max"},
                ),
                says="a number of nodes, or {min: 2, max: 8}",
            ),
            "Nodes that start together or not at all. All else here is per node. With `min` and "
            "`max` it starts on as many as are free: ranks are told how many there are.",
            "2",
            "1",
        ),
        Key(
            "ranks",
            Integer(least=1, most=limits.RANKS),
            "Processes per node.",
            "4",
            "with `launcher: mpi` or `torchrun` one per whole GPU, else 1",
        ),
        Key(
            "gpus",
            Milli(
                least=0,
                most=1000 * limits.GPUS,
                wants="a number of GPUs (1, 8) or a share of one (0.5)",
            ),
            "GPUs per node: whole ones, or a share of one device (0.001 to 0.999).",
            "1",
            "0",
        ),
        Key(
            "gpu_type",
            Items(
                of=Text(wants="a GPU model", most=limits.PLACE_CHARS),
                most=limits.GPU_TYPES,
                single=True,
                least=1,
            ),
            "Allowed GPU models, as `zenkei nodes` shows them.",
            "NVIDIA H200",
            "any",
        ),
        Key(
            "cpus",
            Milli(least=1, most=1000 * limits.CPUS, wants="a number of CPU cores (4, 0.5)"),
            "CPU cores per node.",
            "4",
            "1",
        ),
        Key(
            "memory",
            Size(),
            "Memory per node, enforced. Without it the job is neither limited nor counted.",
            "16GiB",
            "not limited",
        ),
        Key(
            "tmp",
            Size(),
            "Temporary disk space per node.",
            "100GiB",
            "not counted",
        ),
    ),
)

CODE: Final = Section(
    name="code",
    synonyms={"ignore": "exclude"},
    keys=(
        Key(
            "include",
            Items(of=_PATTERN, most=limits.PATTERNS),
            "Patterns of files that travel although an ignore file names them.",
            "[data/small.csv]",
        ),
        Key(
            "exclude",
            Items(of=_PATTERN, most=limits.PATTERNS),
            "Patterns of files that do not travel, as in .gitignore.",
            "[notebooks/]",
        ),
    ),
)

_EXIT_CODE: Final = Integer(least=1, most=255)
RULE: Final = Section(
    name="retry.rules",
    synonyms={"exit_codes": "exit_code", "code": "exit_code", "do": "action"},
    keys=(
        Key(
            "exit_code",
            Items(of=_EXIT_CODE, most=255, single=True, least=1),
            "Exit codes that this rule is for.",
            "75",
        ),
        Key(
            "log",
            Text(
                wants="a regular expression",
                most=limits.PARAMETER_CHARS,
                rule=names.regular_expression,
            ),
            "A regular expression (Python's) that is searched in the last output of every rank.",
            "CUDA error",
        ),
        Key(
            "action",
            Choice(
                words={
                    "retry": "Run it again.",
                    "elsewhere": "Run it again on other nodes than the one that failed.",
                    "more_memory": "Run it again, once, with twice the memory.",
                    "give_up": "Fail at once.",
                },
            ),
            "What to do.",
            "retry",
        ),
    ),
)

RETRY: Final = Section(
    name="retry",
    synonyms={"count": "limit", "max": "limit", "attempts": "limit", "delay": "backoff"},
    keys=(
        Key(
            "limit",
            Integer(least=0, most=limits.RETRIES),
            "How many more attempts after a failure of the job's own.",
            "3",
            "0",
        ),
        Key(
            "backoff",
            Duration(least_ms=0, most_ms=1000 * limits.BACKOFF_S),
            "Pause before the first retry; it doubles with each, up to 10 minutes.",
            "30s",
            "1s",
        ),
        Key(
            "rules",
            Items(of=RULE, most=limits.RULES),
            "The first rule that matches decides; with `exit_code` and `log`, both must. With a "
            "rule that retries, failures that no rule names are not retried.",
        ),
    ),
)

_JOBS: Final = Items(of=Job(), most=limits.DEPENDENCIES, single=True)
AFTER: Final = Section(
    name="after",
    synonyms={"success": "ok", "succeeded": "ok", "failure": "failed", "always": "any"},
    keys=(
        Key("ok", _JOBS, "Jobs that must succeed first.", "41"),
        Key("any", _JOBS, "Jobs that must end first, however.", "41"),
        Key("failed", _JOBS, "Jobs that must fail first.", "41"),
    ),
)

_VARIABLE: Final = Text(
    wants="a variable name",
    most=limits.VARIABLE_CHARS,
    pattern=names.VARIABLE_PATTERN,
    rule=names.variable_rule,
)
SECRET_NAME: Final = Text(
    wants="a secret's name",
    most=128,
    pattern=names.STORED_PATTERN,
    hint="letters, digits, `_`, `-` and `.`",
)
SECRET: Final = Section(
    name="secrets",
    keys=(
        Key("name", SECRET_NAME, "Name given to `zenkei secret set`.", "wandb"),
        Key("env", _VARIABLE, "Variable that holds the value.", "WANDB_API_KEY"),
        Key("file", _VARIABLE, "Variable that names a file with the value.", "CREDENTIALS_FILE"),
    ),
)

CHECKPOINT: Final = Section(
    name="checkpoint",
    synonyms={"timeout": "grace", "interval": "every", "frequency": "every", "max": "keep"},
    keys=(
        Key(
            "signal",
            Choice(
                words={
                    "TERM": "SIGTERM",
                    "USR1": "SIGUSR1",
                    "USR2": "SIGUSR2",
                    "none": "No signal: the program looks for the file $ZENKEI_CHECKPOINT_ASK.",
                },
            ),
            "What asks the program for a checkpoint, beside the file $ZENKEI_CHECKPOINT_ASK. It "
            "goes to processes that handle it only.",
            "USR1",
            "TERM",
        ),
        Key(
            "ranks",
            Choice(
                words={
                    "all": "Every rank says that the same step is saved.",
                    "first": "Rank 0 says it for all.",
                },
            ),
            "Which ranks must say that a checkpoint is saved before it counts.",
            "first",
            "all",
        ),
        Key(
            "grace",
            Duration(least_ms=1000, most_ms=1000 * limits.GRACE_S),
            "Time to save one before the job is stopped.",
            "5m",
            "60s",
        ),
        Key(
            "every",
            Duration(least_ms=1000, most_ms=86_400_000),
            "How often the program should save one; told to it by `sdk.checkpoint.due()`.",
            "30m",
            "when it is worth its cost",
        ),
        Key(
            "keep",
            Integer(least=1, most=limits.CHECKPOINTS),
            "How many are kept; older ones are removed.",
            "5",
            "3",
        ),
    ),
)
HANG: Final = Section(
    name="hang",
    synonyms={"silence": "quiet", "after": "quiet"},
    keys=(
        Key(
            "quiet",
            Duration(least_ms=1000, most_ms=1000 * limits.QUIET_S),
            "Less silence than this is never a hang. The job's own rhythm can only raise it.",
            "30m",
            "10m",
        ),
        Key(
            "startup",
            Duration(least_ms=1000, most_ms=1000 * limits.QUIET_S),
            "The same before the first sign of progress: imports, compilation, downloads.",
            "1h",
            "30m",
        ),
        Key(
            "timeout",
            Duration(least_ms=1000, most_ms=1000 * limits.QUIET_S),
            "More silence than this is a hang, whatever the processes do.",
            "6h",
            "none",
        ),
        Key(
            "action",
            Choice(
                words={
                    "retry": "Keep the stacks of all ranks, stop it, and run it again elsewhere.",
                    "fail": "Keep the stacks, and fail.",
                    "warn": "Keep the stacks, and only say so.",
                },
            ),
            "What to do then.",
            "warn",
            "retry",
        ),
    ),
)
