"""The engine: launches, orders, reports and streams of the attempts of one place.

Called from the controller's threads. State on disk is the truth (`layout`); what is in memory can
be read again. The noticing thread (`watch`) reads spools when a supervisor says that one has grown.

A launch: folders with empty spool and inbox and the launch document per node, then `attempt.json`,
the commit point, synced; then supervisors are asked for, which claim the attempt once for ever. If
this process dies in between, the next one's first scan finishes what is committed. A stop order for
an attempt that was never launched commits a tombstone in the same file.
"""

from __future__ import annotations

import errno
import os
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock, RLock
from typing import Any

from zenkei.engines.local import checkpoints, orders, probing
from zenkei.engines.local import nodes as node_room
from zenkei.engines.local.datasets import Datasets, NoDatasets
from zenkei.engines.local.devices import DeviceWatch
from zenkei.engines.local.hanging import Hung
from zenkei.engines.local.launchers import refuse_missing
from zenkei.engines.local.layout import WAKE_FROM_NODE, Layout
from zenkei.engines.local.link import AgentLink
from zenkei.engines.local.nodes import NodesConfig
from zenkei.engines.local.runs import Run, Runs
from zenkei.engines.local.shipping import ship_agent, ship_python, ship_sdk
from zenkei.engines.local.silence import Patience
from zenkei.engines.local.watch import Watch
from zenkei.model.cluster import Node
from zenkei.model.data import CheckpointPart, Digest
from zenkei.model.errors import (
    EngineError,
    PermanentEngineError,
    TemporaryEngineError,
    ZenkeiError,
)
from zenkei.model.ids import AttemptId
from zenkei.model.job import JobSpec, StopReason
from zenkei.ports.builder import Builder
from zenkei.ports.engine import (
    Artefact,
    ArtefactKind,
    AskCheckpoint,
    Capabilities,
    DumpStacks,
    LaunchOrder,
    Message,
    Report,
    StopAttempt,
)
from zenkei.ports.secrets import Secrets
from zenkei.ports.trees import Checkpoints, Trees
from zenkei.protocol import logs, names, records
from zenkei.protocol.launch import Launch, dump

MIB = 1 << 20
STACKS = f"{names.STACKS_SUBDIR}/{names.STACKS_DUMPS}"
LAUNCHES = 8
BEATS = 4
"""Signs of life that a supervisor gives in the time after which it is called silent."""
CHECKED_S = 1.0
"""A check of an environment serves launches for so long: those of one planning cycle share it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How much output of a node is kept, and how long silence is borne."""

    log_head_bytes: int = 64 * MIB
    log_tail_bytes: int = 64 * MIB
    patience: Patience = Patience()


class LocalEngine:
    """See the module's docstring and `ports.engine`. Thread-safe.

    nodes: declared nodes; None: this machine as it is. warm: False starts every supervisor in a
    fresh interpreter. without: control groups that supervisors must not use (both for tests).
    Streams of `read`: `log/<node rank>`, `log/<node rank>/index`, `metrics/<rank>`,
    `stacks/<node rank>`, `datasets/<node rank>`.
    """

    def __init__(
        self,
        *,
        home: Path,
        builder: Builder,
        trees: Trees,
        secrets: Secrets,
        nodes: NodesConfig | None = None,
        limits: Limits = Limits(),
        warm: bool = True,
        without: tuple[str, ...] = (),
    ) -> None:
        self._layout = Layout(home)
        self._layout.make()
        self._builder = builder
        self._trees = trees
        self._checkpoints: Checkpoints | None = None
        self._datasets: Datasets = NoDatasets()
        self._secrets = secrets
        self._config = nodes
        self._limits = limits
        self._boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        self._sdk = ship_sdk(self._layout.agent)
        self._link = AgentLink(
            ship_agent(self._layout.agent),
            log=self._layout.agent / "agent.log",
            warm=warm,
            without=without,
        )
        ship_python(self._layout.agent / "bin")
        self._stripes = tuple(RLock() for _ in range(64))
        self._env_dirs: dict[Digest, tuple[str, float]] = {}
        self._env_lock = Lock()
        self._runs = Runs(
            self._layout,
            self._boot_id,
            self._resume,
            self._stop_node,
            self._blame,
            limits.patience,
        )
        self._watch = Watch(self._layout, self._runs)
        self._devices = DeviceWatch(self.inventory, self._runs.see)

    @property
    def cluster(self) -> str:
        return node_room.CLUSTER

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(launches=LAUNCHES)

    @property
    def agent_pid(self) -> int:
        """Process id of the warm agent; 0 if there is none (for doctor and tests)."""
        return self._link.agent_pid

    def start(self) -> None:
        """Scan what is there and notice from now on; also done by the first use."""
        self._watch.start()
        self._link.start()

    def close(self, *, wait_s: float = 0.0) -> None:
        """Stop noticing. Running attempts go on; wait_s: wait for the agent to end (tests)."""
        self._devices.close()
        self._watch.close()
        self._link.close(wait_s=wait_s)
        self._datasets.close()

    def inventory(self) -> tuple[Node, ...]:
        if self._config is not None:
            return node_room.declared(self._config, self._boot_id, self._layout.home)
        found = node_room.measured(self._boot_id, self._layout.home)
        self._devices.start(found)
        return found

    def declare(self, nodes: NodesConfig | None) -> None:
        """From now on these are the nodes; None: this machine. The caller checks what is held."""
        self._config = nodes

    def read_from(self, place: Datasets) -> None:
        """From now on datasets are found there; before: none are."""
        self._datasets = place

    def resume_from(self, place: Checkpoints) -> None:
        """From now on checkpoints to go on from are found there; before: where the code is."""
        self._checkpoints = place

    # -- artefacts ---------------------------------------------------------------------------------

    def prepare(self, artefact: Artefact, progress: Callable[[str], None]) -> None:
        if artefact.kind is ArtefactKind.ENV:
            self._env_dir(artefact.digest, progress, checked_s=0.0)
            return
        if artefact.kind is ArtefactKind.DATA:
            self._datasets.prefetch(artefact.digest, progress)
            return
        target = self._layout.code_tree(artefact.digest)
        # two attempts of the same code may come at once; a tree is laid out by one of them
        with self._stripes[hash(artefact.digest) % len(self._stripes)], _engine_errors():
            if not target.exists():
                self._trees.checkout(artefact.digest, target)

    def check(self, spec: JobSpec, params: Mapping[str, str], env: Digest) -> None:
        env_dir = self._env_dir(env) if env else ""
        path = orders.search_path(env_dir, str(self._layout.agent / "bin"))
        with _engine_errors():
            refuse_missing(spec, params, env_dir=env_dir, search_path=path)

    def _env_dir(
        self,
        digest: Digest,
        progress: Callable[[str], None] = lambda _line: None,
        *,
        checked_s: float = CHECKED_S,
    ) -> str:
        """Directory of an environment that was found unchanged at most `checked_s` ago."""
        with self._env_lock:
            path, at = self._env_dirs.get(digest, ("", 0.0))
        if path and time.monotonic() - at < checked_s:
            return path
        started = time.monotonic()
        with _engine_errors():
            path = self._builder.realise(digest, progress)
        with self._env_lock:
            self._env_dirs[digest] = (path, started)
        return path

    # -- launch and orders -------------------------------------------------------------------------

    def launch(self, order: LaunchOrder) -> None:
        self._watch.start()
        env_dir = self._env_dir(order.env) if order.env else ""
        code_dir = ""
        if order.code:
            self.prepare(Artefact(kind=ArtefactKind.CODE, digest=order.code), lambda _line: None)
            code_dir = str(self._layout.code_tree(order.code))
        self._datasets.prefetch_all(order)
        # not under the lock: an order to stop need not wait until a large checkpoint is copied
        resume_dir = "" if self._runs.known(order.attempt) else self._lay_out_resume(order)
        with self._locked(order.attempt), _engine_errors():
            if self._runs.known(order.attempt) is not None:
                return
            secrets = self._secret_values(order.project, order.spec)
            place = self._place(order)
            documents = orders.documents(
                order, place, env_dir=env_dir, code_dir=code_dir, resume_dir=resume_dir
            )
            documents = self._datasets.into(documents, order)
            run = Run(
                attempt=order.attempt,
                nodes=tuple(node.name for node, _ in order.nodes),
                boot_id=self._boot_id,
                project=order.project,
                secrets=tuple((s.name, s.variable) for s in order.spec.secrets),
                port=place.port,
            )
            self._lay_out(order.attempt, documents)
            self._runs.commit(run)
            self._watch.rouse(order.attempt)
            for document in documents:
                node = self._layout.node(order.attempt, document.node_rank)
                tree = "" if document.memory_bytes else document.tree
                self._link.supervise(node, secrets, tree)

    def _lay_out_resume(self, order: LaunchOrder) -> str:
        """The checkpoint to go on from, complete and verified; empty if there is none."""
        if order.resume is None:
            return ""
        with _engine_errors():
            trees = self._trees
            if self._checkpoints is not None:
                trees = self._checkpoints.trees(order.resume.attempt.job)
            return str(checkpoints.lay_out(self._layout, trees, order.attempt, order.resume))

    def _lay_out(self, attempt: AttemptId, documents: tuple[Launch, ...]) -> None:
        """Folders of a launch that is not committed yet; an earlier, cut-off try is removed."""
        folder = self._layout.attempt(attempt)
        if folder.exists():
            shutil.rmtree(folder)
        for document in documents:
            node = self._layout.node(attempt, document.node_rank)
            node.mkdir(parents=True, mode=0o700)
            records.make(str(node / names.SPOOL_FILE))
            records.make(str(node / names.INBOX_FILE))
            (node / names.LAUNCH_FILE).write_bytes(dump(document))

    def _resume(self, run: Run, rank: int) -> None:
        """A committed attempt has no living supervisor on a node: start, or finish, it there."""
        values = {v: self._secrets.get(run.project, n) for n, v in run.secrets}
        self._link.supervise(self._layout.node(run.attempt, rank), values, again=True)

    def tell(self, attempt: AttemptId, message: Message) -> None:
        self._watch.start()
        with self._locked(attempt), _engine_errors():
            run = self._runs.known(attempt)
            if run is None and not isinstance(message, StopAttempt):
                raise PermanentEngineError(f"attempt {attempt} does not run here")
            if run is None:
                self._runs.commit(Run(attempt=attempt, nodes=(), boot_id=self._boot_id))
                self._watch.poke(attempt)
                return
            for rank in range(len(run.nodes)):
                if isinstance(message, AskCheckpoint):
                    self._order(attempt, rank, records.ASK, deadline_s=message.deadline_s)
                elif isinstance(message, DumpStacks):
                    self._order(attempt, rank, records.DUMP)
                else:
                    self._stop_node(
                        attempt, rank, message.reason, message.grace_s, message.checkpoint_s
                    )

    def _stop_node(
        self,
        attempt: AttemptId,
        rank: int,
        reason: StopReason,
        grace_s: float,
        checkpoint_s: float = 0.0,
    ) -> None:
        fields = {"grace_s": grace_s, "checkpoint_s": checkpoint_s}
        self._order(attempt, rank, records.STOP, reason=str(reason), **fields)

    def _blame(self, attempt: AttemptId, hung: Hung) -> None:
        """Tell the node that keeps the others waiting."""
        self._order(
            attempt,
            hung.node,
            records.HUNG,
            rank=hung.rank,
            detail=hung.detail,
            grace_s=hung.grace_s,
        )

    def _order(self, attempt: AttemptId, node_rank: int, kind: str, **fields: Any) -> None:
        """Write the order, then wake the supervisor. Safe to repeat."""
        with self._locked(attempt):
            node = self._layout.node(attempt, node_rank)
            inbox = records.Journal(
                str(node / names.INBOX_FILE), attempt=str(attempt), node=node_rank
            )
            try:
                inbox.append(kind, at_us=_now_us(), **fields)
            finally:
                inbox.close()
            wake_supervisor(node)

    def fence(self, node: str, attempt: AttemptId) -> None:
        with self._locked(attempt), _engine_errors():
            self._runs.fence(node, attempt)
            self._watch.rouse(attempt)

    def lift(self, node: str, attempt: AttemptId) -> None:
        with _engine_errors():
            self._runs.lift(node, attempt)

    def probe(self, node: str) -> tuple[str, ...]:
        found = [one for one in self.inventory() if one.name == node]
        if not found:
            return (f"there is no node {node} any more",)
        prefix = self._config.prefixes.get(node, ()) if self._config is not None else ()
        return probing.probe(found[0], prefix, self._link.archive, self._layout.attempts)

    # -- reports -----------------------------------------------------------------------------------

    def observe(self, cursor: str) -> tuple[tuple[Report, ...], str]:
        self._watch.start()
        return self._runs.since(cursor)

    def on_report(self, wake: Callable[[], None]) -> None:
        self._runs.on_report(wake)
        self._watch.start()

    def retire(self, attempt: AttemptId) -> None:
        with self._locked(attempt):
            self._runs.retire(attempt)
        self._datasets.release(attempt, self._layout.attempt(attempt))
        checkpoints.forget_resume(self._layout, attempt)

    # -- streams -----------------------------------------------------------------------------------

    def read(self, attempt: AttemptId, stream: str, offset: int, limit: int) -> bytes:
        kind, _, rest = stream.partition("/")
        number, _, tail = rest.partition("/")
        if not (number.isascii() and number.isdigit()) or offset < 0 or limit <= 0:
            return b""
        folder = self._layout.attempt(attempt)
        if kind == "log" and tail in ("", "index"):
            directory = folder / f"node-{int(number)}" / names.LOG_DIR
            if not tail:
                return logs.read(str(directory), offset, limit)
            return _slice(directory / logs.INDEX_FILE, offset, limit)
        if kind == "datasets" and not tail:
            return _slice(folder / f"node-{int(number)}" / names.DATASETS_FILE, offset, limit)
        if kind == "stacks" and not tail:
            return _slice(folder / f"node-{int(number)}" / STACKS, offset, limit)
        if kind in (names.METRICS_SUBDIR, names.STARTS_SUBDIR) and not tail:
            found = sorted(folder.glob(f"node-*/{kind}/{int(number)}"))
            return _slice(found[0], offset, limit) if found else b""
        return b""

    def outputs(self, attempt: AttemptId) -> tuple[str, ...]:
        run = self._runs.known(attempt)
        ranks = range(len(run.nodes)) if run is not None else ()
        sound = [rank for rank in ranks if not self._runs.fenced(attempt, rank)]
        folders = [self._layout.node(attempt, rank) / names.OUTPUTS_DIR for rank in sound]
        return tuple(str(folder) for folder in folders if folder.is_dir())

    def saved(
        self, attempt: AttemptId, step: int, parts: tuple[CheckpointPart, ...]
    ) -> tuple[str, ...]:
        for part in parts:
            if self._runs.fenced(attempt, part.node_rank):
                raise PermanentEngineError(f"`{part.path}` lies on a node that was fenced")
        found = []
        for part in parts:
            told_us = self._runs.told_us(attempt, part.node_rank, step)
            found.append(checkpoints.unchanged(self._layout, attempt, step, part, told_us))
        return tuple(map(str, found))

    def discard(self, attempt: AttemptId, step: int, parts: tuple[CheckpointPart, ...]) -> None:
        for part in parts:
            told_us = self._runs.told_us(attempt, part.node_rank, step)
            checkpoints.remove(self._layout, attempt, part, told_us)

    # -- parts -------------------------------------------------------------------------------------

    def _secret_values(self, project: str, spec: JobSpec) -> dict[str, bytes]:
        return {use.variable: self._secrets.get(project, use.name) for use in spec.secrets}

    def _place(self, order: LaunchOrder) -> orders.Place:
        prefixes = self._config.prefixes if self._config else {}
        port = 0
        if orders.meets(order):
            look = not prefixes.get(order.nodes[0][0].name)
            port = self._runs.ports.lease(order.attempt, look=look)
        return orders.Place(
            home=str(self._layout.home),
            boot_id=self._boot_id,
            own_env={"HOME": os.path.expanduser("~"), **os.environ},
            bin_dir=str(self._layout.agent / "bin"),
            sdk=str(self._sdk),
            python=sys.executable,
            wake=WAKE_FROM_NODE,
            head_bytes=self._limits.log_head_bytes,
            tail_bytes=self._limits.log_tail_bytes,
            prefixes=prefixes,
            port=port,
            heartbeat_s=self._limits.patience.silent_s / BEATS,
        )

    def _locked(self, attempt: AttemptId) -> RLock:
        return self._stripes[hash(attempt) % len(self._stripes)]


def wake_supervisor(node: Path) -> None:
    """Let it look into its inbox. One that does not listen yet reads the inbox when it starts."""
    try:
        directory = os.open(node, os.O_PATH | os.O_DIRECTORY)
    except FileNotFoundError:
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(1.0)
            # a path through the descriptor is short, however long the directory's is
            sock.connect(f"/proc/self/fd/{directory}/{names.CONTROL_SOCKET}")
            sock.sendall(_WAKE)
    except OSError:
        pass
    finally:
        os.close(directory)


def _slice(path: Path, offset: int, limit: int) -> bytes:
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            return file.read(limit)
    except OSError:
        return b""


@contextmanager
def _engine_errors() -> Iterator[None]:
    """What goes wrong on this machine, in the port's words."""
    try:
        yield
    except EngineError:
        raise
    except ZenkeiError as error:
        kind = TemporaryEngineError if error.status == 503 else PermanentEngineError
        raise kind(error.message) from error
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        what = "the disk is full" if full else str(error)
        raise TemporaryEngineError(what, delay_s=30.0 if full else 1.0) from error


def _now_us() -> int:
    return time.time_ns() // 1000


_WAKE = b"W\0\0\0\0"
