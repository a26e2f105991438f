"""The launch document: all that a supervisor needs to run one attempt on one node, but no secret.

Written by an engine as `launch.json` before the supervisor starts, never changed afterwards. Paths
are absolute. A reader ignores keys it does not know and fills those it misses with defaults, so
supervisors and control planes of neighbouring versions understand each other.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from zenkei.protocol import VERSION


class SecretSlot(NamedTuple):
    """A secret goes into variable `variable`, or a file that it names. The value travels apart."""

    variable: str
    as_file: bool = False


class Checkpointing(NamedTuple):
    """signal: its name without SIG, or empty. all_ranks: every rank says that it has saved.

    resume_dir, resume_step: the checkpoint to go on from; step -1: there is none. resume_path: what
    the ranks saved, relative to the directory; empty: the directory itself.
    """

    signal: str = "TERM"
    all_ranks: bool = True
    every_s: float = 0.0
    failures_per_day: float = 0.0
    resume_dir: str = ""
    resume_step: int = -1
    resume_path: str = ""


class HangWatch(NamedTuple):
    """As `model.job.HangPolicy`. action: retry, fail or warn."""

    action: str = "retry"
    quiet_s: float = 600.0
    startup_s: float = 1800.0
    timeout_s: float = 0.0


class DataMount(NamedTuple):
    """A dataset version for the ranks. at: relative to their directory, or absolute.

    ticket: leave for this attempt to read it. split, shuffle: as in `protocol.datasets`.
    """

    name: str
    digest: str
    at: str
    number: int = 0
    ticket: str = ""
    split: dict[str, Any] | None = None
    shuffle: dict[str, Any] | None = None


class DataPlan(NamedTuple):
    """helper: argv of the node helper. request: what it is always told. hide: directories that the

    ranks shall not see: where the helper and the store keep what others read too.
    """

    helper: tuple[str, ...]
    request: dict[str, Any]
    mounts: tuple[DataMount, ...]
    hide: tuple[str, ...] = ()


class Launch(NamedTuple):
    """Built with keywords only.

    tree: mark of all processes of this attempt on this node. ranks: processes on this node; all
    nodes have as many. prefix: argv that enters the node. env: variables common to all ranks.
    code_dir: copied to the private `work` directory (empty: nothing). env_dir: shown read-only
    where the machine allows it. python: interpreter with which helpers of the agent are started.
    argv is what each rank runs (launcher `none`), or what is started once with `mpiexec` around it.
    patterns: regular expressions of the job's retry rules, searched in the last output (empty: a
    rule without one). port: where rank 0 may listen for the others, on the first address.
    heartbeat_s: how often the supervisor gives a sign of life. at_us: the sender's clock, where the
    node has another one; 0: not compared.
    """

    attempt: str
    node: str
    node_rank: int
    nodes: int
    tree: str
    argv: tuple[str, ...]
    version: int = VERSION
    boot_id: str = ""
    launcher: str = "none"
    virtual: bool = False
    ranks: int = 1
    addresses: tuple[str, ...] = ()
    prefix: tuple[str, ...] = ()
    env: dict[str, str] = {}  # noqa: RUF012 - never changed
    code_dir: str = ""
    env_dir: str = ""
    python: str = ""
    outputs: str = "outputs"
    time_limit_s: float = 0.0
    grace_s: float = 10.0
    memory_bytes: int = 0
    cpu_milli: int = 0
    log_head_bytes: int = 64 << 20
    log_tail_bytes: int = 64 << 20
    wake: str = ""
    secrets: tuple[SecretSlot, ...] = ()
    checkpoint: Checkpointing | None = None
    hang: HangWatch | None = None
    patterns: tuple[str, ...] = ()
    rdma: bool = False
    port: int = 0
    heartbeat_s: float = 5.0
    at_us: int = 0
    data: DataPlan | None = None


def dump(document: Launch) -> bytes:
    """As JSON, with a newline."""
    fields = document._asdict()
    fields["secrets"] = [list(slot) for slot in document.secrets]
    for name in ("checkpoint", "hang"):
        part = getattr(document, name)
        fields[name] = part and part._asdict()
    if document.data is not None:
        mounts = [mount._asdict() for mount in document.data.mounts]
        fields["data"] = {**document.data._asdict(), "mounts": mounts}
    return json.dumps(fields, sort_keys=True).encode() + b"\n"


def load(data: bytes) -> Launch:
    """Raises ValueError if it is not a launch document or from a newer, unreadable version."""
    fields = json.loads(data)
    if not isinstance(fields, dict):
        raise ValueError("a launch document is a JSON object")
    if int(fields.get("version", 0)) > VERSION:
        raise ValueError(f"launch document of version {fields['version']}, known is {VERSION}")
    known: dict[str, Any] = {name: fields[name] for name in Launch._fields if name in fields}
    for name in ("argv", "addresses", "prefix", "patterns"):
        if name in known:
            known[name] = tuple(known[name])
    slots: list[SecretSlot] = [SecretSlot(*slot) for slot in fields.get("secrets", ())]
    known["secrets"] = tuple(slots)
    for name, kind in (("checkpoint", Checkpointing), ("hang", HangWatch)):
        part = known.get(name)
        known[name] = part and kind(**{key: part[key] for key in kind._fields if key in part})
    known["data"] = _data(known.get("data"))
    return Launch(**known)


def _data(part: dict[str, Any] | None) -> DataPlan | None:
    if part is None:
        return None
    mounts = tuple(
        DataMount(**{key: row[key] for key in DataMount._fields if key in row})
        for row in part["mounts"]
    )
    return DataPlan(
        helper=tuple(part["helper"]),
        request=part["request"],
        mounts=mounts,
        hide=tuple(part.get("hide", ())),
    )
