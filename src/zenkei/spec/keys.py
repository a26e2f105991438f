"""The table of all keys of a job file: the one source for parser, hints, JSON Schema and docs.

`FILE.read` gives nested Fields to `build`; `FILE.schema` is published by `jsonschema`. A key is
added here and in `build`; keys of later versions stand here with `later` and are refused, never
ignored.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from zenkei.spec import limits, names
from zenkei.spec.datasets import DATASETS, Parts
from zenkei.spec.kinds import Boolean, Choice, Duration, Integer, Job, Raw, Text
from zenkei.spec.sections import (
    AFTER,
    CHECKPOINT,
    CODE,
    ENV,
    HANG,
    LEVEL,
    RESOURCES,
    RETRY,
    SECRET,
    SECRET_NAME,
    TOPOLOGY,
)
from zenkei.spec.shapes import Either, Items, Key, Section, Table

VERSION: Final = 1

_WORD: Final = Text(wants="a name", most=limits.NAME_CHARS, rule=names.job_name)
_PLACE: Final = Text(
    wants="a name",
    most=limits.PLACE_CHARS,
    pattern=names.PLACE_PATTERN,
    rule=names.place_name,
    hint="letters, digits, `.`, `_` and `-`, starting with a letter or digit",
)
_LABEL_VALUE: Final = Text(wants="a text", most=limits.NAME_CHARS)

FILE: Final = Section(
    name="",
    whole=True,
    synonyms={
        "run": "command",
        "cmd": "command",
        "script": "command",
        "entrypoint": "command",
        "args": "command",
        "environment": "env",
        "timeout": "time_limit",
        "walltime": "time_limit",
        "depends_on": "after",
        "dependencies": "after",
        "needs": "after",
        "partition": "queue",
        "sweep": "matrix",
        "output": "outputs",
        "dataset": "datasets",
        "node_selector": "constraints",
        "retries": "retry",
    },
    keys=(
        Key(
            "version",
            Integer(least=VERSION, most=VERSION, hint=f"this zenkei reads version {VERSION}"),
            "Version of the job file's format.",
            default="1",
        ),
        Key(
            "name", _WORD, "What people call the job.", "digits", "the directory's or script's name"
        ),
        Key(
            "project",
            _PLACE,
            "Whose work it is: secrets and usage go by project.",
            "vision",
            "default",
        ),
        Key("queue", _PLACE, "The line in which the job waits.", "default", "default"),
        Key(
            "priority",
            Integer(least=-limits.PRIORITY, most=limits.PRIORITY),
            "Higher starts first within a queue.",
            "10",
            "that of the queue, else 0",
        ),
        Key(
            "command",
            Either(
                scalar=Raw(
                    wants="a shell text",
                    most_bytes=limits.COMMAND_BYTES,
                    templates=True,
                    empty=False,
                    strip=True,
                ),
                sequence=Items(
                    of=Raw(wants="an argument", most_bytes=limits.COMMAND_BYTES, templates=True),
                    most=limits.ARGUMENTS,
                    least=1,
                ),
                says="a shell text or a list of arguments",
            ),
            "What runs: a text for `/bin/sh -ec`, or a list of arguments without a shell. "
            "${{ matrix.x }} and ${{ array.index }} are replaced.",
            "python train.py",
        ),
        Key("env", ENV, "The environment: built once from what is named here, then reused."),
        Key("resources", RESOURCES, "What the job needs, per node."),
        Key(
            "launcher",
            Choice(
                words={
                    "none": "zenkei starts `ranks` processes on each node.",
                    "mpi": "mpirun starts the ranks, with a host file of addresses.",
                    "torchrun": "PyTorch's torchrun starts `ranks` processes on each node.",
                    "jax": "zenkei starts the processes, with JAX's coordinator variables.",
                },
            ),
            "How ranks are started.",
            "mpi",
            "none",
        ),
        Key(
            "code",
            Either(scalar=Boolean(), mapping=CODE, says="false, or a mapping of keys"),
            "Which files of the working tree travel with the job; `false`: none.",
            default="all but ignored files",
        ),
        Key(
            "datasets",
            DATASETS,
            "Datasets the job reads, each at one version, read-only. `at` says where.",
            "[digits:stable]",
        ),
        Key(
            "seed",
            Integer(least=0, most=limits.SEED),
            "Seed given to every rank; Python, NumPy, PyTorch and others are seeded with it.",
            "42",
            "one per job, the same on every attempt",
        ),
        Key(
            "deterministic",
            Boolean(),
            "Set what makes libraries repeat themselves: PYTHONHASHSEED, CUBLAS_WORKSPACE_CONFIG, "
            "TF_DETERMINISTIC_OPS, XLA_FLAGS, and the switches of PyTorch and TensorFlow.",
            default="false",
        ),
        Key(
            "retry",
            Either(scalar=Integer(least=0, most=limits.RETRIES), mapping=RETRY),
            "How often to try again after a failure of the job's own. "
            "Lost nodes and preemption never count.",
            "3",
            "0",
        ),
        Key(
            "time_limit",
            Duration(least_ms=1000, most_ms=1000 * limits.TIME_LIMIT_S),
            "The attempt is stopped after this time.",
            "1.5h",
            "none",
        ),
        Key(
            "grace",
            Duration(least_ms=0, most_ms=1000 * limits.GRACE_S),
            "Time between SIGTERM and SIGKILL when the job is stopped.",
            "30s",
            "10s",
        ),
        Key(
            "after",
            Either(
                scalar=Job(),
                sequence=Items(of=Job(), most=limits.DEPENDENCIES),
                mapping=AFTER,
                says="a job id such as 42 or 42.7, a list of them, or {ok: 41, failed: 42}",
            ),
            "Jobs that must end first; without `any` or `failed` they must succeed.",
            "41",
        ),
        Key(
            "matrix",
            Table(
                of=Items(
                    of=Raw(wants="a value", most_bytes=limits.PARAMETER_CHARS),
                    most=limits.MEMBERS,
                    least=1,
                ),
                most=limits.PARAMETERS,
                check=names.parameter,
                wants="a mapping of parameters to lists of values",
                pattern=names.PARAMETER_PATTERN,
            ),
            "One member of the job for each combination; the last parameter varies fastest.",
        ),
        Key(
            "array",
            Integer(least=1, most=limits.MEMBERS),
            "So many members, with ${{ array.index }} from 0. With `matrix`: so many of each.",
            "100",
        ),
        Key(
            "labels",
            Table(
                of=_LABEL_VALUE, most=limits.LABELS, check=names.label, pattern=names.LABEL_PATTERN
            ),
            "Words for finding the job again.",
        ),
        Key(
            "constraints",
            Table(
                of=Items(of=_LABEL_VALUE, most=limits.LABEL_VALUES, single=True, least=1),
                most=limits.LABELS,
                check=names.label,
                pattern=names.LABEL_PATTERN,
            ),
            "Labels that nodes must have: one value, or a list of allowed ones.",
        ),
        Key(
            "topology",
            Either(
                scalar=LEVEL,
                mapping=TOPOLOGY,
                says="a level such as rack, {required: rack} or {preferred: rack}",
            ),
            "How close together the nodes shall be: in one domain of this level, such as a rack. "
            "A level alone is preferred, not required.",
            "rack",
            "anywhere",
        ),
        Key(
            "rdma",
            Boolean(),
            "The ranks need RDMA (InfiniBand, RoCE): only nodes that have it are used.",
            default="false",
        ),
        Key(
            "checkpoint",
            Either(scalar=Boolean(), mapping=CHECKPOINT, says="true, or a mapping of keys"),
            "The program saves its progress and goes on from it: it is asked before it is stopped "
            "for another job, and its checkpoints are kept.",
            "true",
            "false",
        ),
        Key(
            "hang",
            Either(scalar=Boolean(), mapping=HANG, says="false, or a mapping of keys"),
            "When a job without signs of progress counts as hung; `false`: never.",
            default="watched",
        ),
        Key(
            "secrets",
            Items(
                of=Either(
                    scalar=SECRET_NAME, mapping=SECRET, says="a name or {name: ..., env: ...}"
                ),
                most=limits.SECRETS,
            ),
            "Secrets of the project, given to the ranks as a variable or a file.",
            "[WANDB_API_KEY]",
        ),
        Key(
            "outputs",
            Text(wants="a relative path", most=limits.PATH_CHARS, rule=names.output_path),
            "Directory that becomes the result.",
            "outputs",
            "outputs",
        ),
    ),
)

_QUIET: Final = (
    "checkpoint",
    "datasets",
    "datasets.shuffle",
    "datasets.split",
    "hang",
    "resources.nodes",
    "secrets",
)
HOMES: Final[dict[str, str]] = {}
"""Where each key lives ('' is the file itself): for keys that were written in the wrong place."""


def walk(file: Section = FILE) -> Iterator[tuple[Section, Key]]:
    """Every key with its section, in the order of the table, those of later versions included."""
    waiting = [file]
    while waiting:
        section = waiting.pop(0)
        for key in section.keys:
            yield section, key
            waiting.extend(_sections_in(key.kind))


def _sections_in(kind: object) -> Iterator[Section]:
    if isinstance(kind, Section):
        yield kind
    elif isinstance(kind, Either):
        for inner in (kind.scalar, kind.sequence, kind.mapping):
            yield from _sections_in(inner)
    elif isinstance(kind, (Items, Table)):
        yield from _sections_in(kind.of)
    elif isinstance(kind, Parts):
        yield kind.fixed


for _section, _key in walk():
    if _section.name not in _QUIET:
        HOMES.setdefault(_key.name, _section.name)
