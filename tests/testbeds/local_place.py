"""A state directory with a local engine on it, for tests: opened, closed, opened again.

`LocalPlace.open()` gives an engine as a daemon would have it; `wait` waits for a report of an
attempt; `close` stops whatever is left and lets the agents end.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Self

from zenkei.engines.local import Limits, LocalEngine, NodesConfig
from zenkei.model.cluster import Node, NodePart
from zenkei.model.data import Digest
from zenkei.model.ids import AttemptId, JobId
from zenkei.model.job import JobSpec, ResourceRequest, StopReason
from zenkei.model.resources import DeviceShare, Request
from zenkei.ports.engine import Exited, LaunchOrder, Released, Report, Started, StopAttempt
from zenkei.protocol import logs, names, records

PATIENCE_S = 30.0


class NoArtefacts:
    """Builder and trees of a place whose jobs need neither."""

    def __init__(self, code: Callable[[Path], None] | None = None) -> None:
        self._code = code

    def realise(self, lock: Digest, progress: Any) -> str:
        raise AssertionError(f"no environment was asked for: {lock}")

    def checkout(self, tree: Digest, to: Path) -> None:
        assert self._code is not None
        to.mkdir(parents=True)
        self._code(to)


class GivenSecrets:
    """Secrets of all projects."""

    def __init__(self, values: dict[str, bytes]) -> None:
        self.values = values

    def get(self, project: str, name: str) -> bytes:
        return self.values[name]


class LocalPlace:
    """home: an empty folder. options: for LocalEngine."""

    def __init__(
        self,
        home: Path,
        *,
        code: Callable[[Path], None] | None = None,
        secrets: dict[str, bytes] | None = None,
        **options: Any,
    ) -> None:
        self.home = home
        self.artefacts: Any = NoArtefacts(code)
        self.secrets: Any = GivenSecrets(secrets or {})
        self.options = options
        self.seen: list[Report] = []
        self._changed = threading.Event()
        self._engine: LocalEngine | None = None
        self._closed: list[LocalEngine] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def engine(self) -> LocalEngine:
        return self._engine if self._engine is not None else self.open()

    def open(self) -> LocalEngine:
        """A new caller on the same place; the one before is closed, as if it had died."""
        if self._engine is not None:
            self._engine.close()
            self._closed.append(self._engine)
        options = {"nodes": NodesConfig(nodes=4, gpus_per_node=2), **self.options}
        self._engine = LocalEngine(
            home=self.home,
            builder=self.artefacts,
            trees=self.artefacts,
            secrets=self.secrets,
            **options,
        )
        self._engine.on_report(self._changed.set)
        self._engine.start()
        return self._engine

    def order(
        self,
        number: int,
        command: str | tuple[str, ...],
        *,
        nodes: int = 1,
        ranks: int = 1,
        cpus: float = 1.0,
        memory_bytes: int = 0,
        gpus: int = 0,
        code: str = "",
        **spec: Any,
    ) -> LaunchOrder:
        """One attempt of job `number`, on the first nodes."""
        request = Request(
            cpu_milli=int(1000 * cpus),
            memory_bytes=memory_bytes,
            gpu_count=gpus,
            gpu_milli=1000 if gpus else 0,
        )
        devices = tuple(DeviceShare(index, 1000) for index in range(gpus))
        resources = ResourceRequest(nodes=nodes, node=request, ranks=ranks)
        chosen: tuple[Node, ...] = self.engine.inventory()[:nodes]
        assert len(chosen) == nodes
        parts = (NodePart(node=node.name, request=request, devices=devices) for node in chosen)
        return LaunchOrder(
            attempt=AttemptId(JobId(number), 1),
            spec=JobSpec(name="test", command=command, resources=resources, **spec),
            nodes=tuple(zip(chosen, parts, strict=True)),
            code=Digest(code),
        )

    def run(self, number: int, command: str | tuple[str, ...], **options: Any) -> Exited:
        """Launch, wait until released, say how it ended."""
        attempt = self.launch(number, command, **options)
        self.wait(attempt, Released)
        return self.exited(attempt)

    def launch(self, number: int, command: str | tuple[str, ...], **options: Any) -> AttemptId:
        order = self.order(number, command, **options)
        self.engine.launch(order)
        return order.attempt

    def reports(self, attempt: AttemptId) -> list[Report]:
        """What a caller that starts now is told about an attempt."""
        told, _ = self.engine.observe("")
        return [report for report in told if getattr(report, "attempt", None) == attempt]

    def wait(self, attempt: AttemptId, kind: type, patience_s: float = PATIENCE_S) -> list[Report]:
        """Until an attempt has such a report; all its reports."""
        deadline = _Deadline(patience_s)
        while True:
            self._changed.clear()
            found = self.reports(attempt)
            if any(isinstance(report, kind) for report in found):
                return found
            if not self._changed.wait(deadline.left_s()):
                told = f"no {kind.__name__} for {attempt}, only {found}"
                raise AssertionError(f"{told}\n{self.agent_log}")

    def exited(self, attempt: AttemptId) -> Exited:
        [found] = [r for r in self.reports(attempt) if isinstance(r, Exited)]
        return found

    def released(self, attempt: AttemptId) -> Released:
        [found] = [r for r in self.reports(attempt) if isinstance(r, Released)]
        return found

    def stop(self, attempt: AttemptId, grace_s: float = 0.2) -> None:
        self.engine.tell(attempt, StopAttempt(reason=StopReason.USER_CANCEL, grace_s=grace_s))

    # -- looking -----------------------------------------------------------------------------------

    def node_dir(self, attempt: AttemptId, rank: int = 0) -> Path:
        return self.home / "attempts" / str(attempt.job) / str(attempt.number) / f"node-{rank}"

    def chunks(self, attempt: AttemptId, rank: int = 0) -> list[logs.Chunk]:
        def read(offset: int, limit: int) -> bytes:
            return self.engine.read(attempt, f"log/{rank}", offset, limit)

        return [chunk for chunk, _ in logs.walk(read)]

    def output(self, attempt: AttemptId, rank: int = 0, stream: int = logs.STDOUT) -> bytes:
        return b"".join(c.data for c in self.chunks(attempt, rank) if c.stream == stream)

    def until_output(self, attempt: AttemptId, wanted: bytes, rank: int = 0) -> bytes:
        """Wait until the log holds `wanted`; the log so far."""
        what = f"{wanted!r} in the log of {attempt}"
        until(lambda: wanted in self.output(attempt, rank), what)
        return self.output(attempt, rank)

    def supervisor_pid(self, attempt: AttemptId, rank: int = 0) -> int:
        spool = records.read(str(self.node_dir(attempt, rank) / names.SPOOL_FILE))
        return int(next(r["pid"] for r in spool if r["kind"] == records.CLAIMED))

    @property
    def agent_log(self) -> str:
        """What agents and supervisors had to say."""
        path = self.home / "agent" / "agent.log"
        return path.read_text() if path.exists() else ""

    def is_over(self, attempt: AttemptId) -> bool:
        """True if all its spools say so (a fenced node's reports are refused)."""
        spools = self.node_dir(attempt).parent.glob(f"node-*/{names.SPOOL_FILE}")
        ends = [records.read(str(spool))[-1:] for spool in spools]
        return all(end and end[0]["kind"] == records.RELEASED for end in ends)

    def close(self) -> None:
        """Nothing runs afterwards."""
        engine = self.engine
        for mark in os.listdir(self.home / "attempts" / ".active"):
            attempt = AttemptId.parse(mark.replace("_", "/"))
            if not self.is_over(attempt):
                self.stop(attempt, 0.0)
                until(partial(self.is_over, attempt), f"the end of {attempt}")
        for each in [*self._closed, engine]:
            each.close(wait_s=PATIENCE_S)
        assert "Traceback" not in self.agent_log, self.agent_log


class _Deadline:
    def __init__(self, patience_s: float) -> None:
        import time

        self._now = time.monotonic
        self._at = self._now() + patience_s

    def left_s(self) -> float:
        return max(0.0, self._at - self._now())


def until(condition: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
    """Wait for a condition that nothing announces; its value."""
    deadline = _Deadline(patience_s)
    pause = threading.Event()
    while True:
        found = condition()
        if found:
            return found
        assert deadline.left_s() > 0, f"waited in vain for {what}"
        pause.wait(0.01)


def is_alive(pid: int) -> bool:
    """True for a process that runs (a zombie has ended)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    return stat.rpartition(b")")[2].split()[0] not in (b"Z", b"X")


def numbers(text: bytes) -> list[int]:
    """Process ids that a test program printed."""
    return [int(word) for word in re.findall(rb"\d+", text)]


__all__ = ["Limits", "LocalPlace", "Started", "is_alive", "numbers", "until"]
