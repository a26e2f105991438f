"""A whole control plane in this process, driven by hand: for tests of use-cases.

The store, the engine and the planner are the real ones (memory and inline); work of the lanes runs
in `settle`, in order, so that tests are deterministic and never wait.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from zenkei.control.plane import Ports, assemble
from zenkei.engines.inline import InlineEngine, succeed
from zenkei.model.access import Principal
from zenkei.model.cluster import Node
from zenkei.model.ids import JobId
from zenkei.model.job import Exit, Job, JobSpec, JobState
from zenkei.model.resources import Capacity, Device
from zenkei.ports.builder import Builder
from zenkei.ports.engine import LaunchOrder
from zenkei.ports.store import Store
from zenkei.sim.clock import VirtualClock
from zenkei.sim.doubles import BlobsDouble, BuilderDouble, TreesDouble
from zenkei.sim.faults import PEACE, Faults
from zenkei.store.memory import MemoryStore, Tables

GIB = 1 << 30
ALICE = Principal(name="alice", uid=1000)
BOB = Principal(name="bob", uid=1001)
ROOT = Principal(name="root", uid=0, operator=True)


def node(name: str = "node-1", cpus: int = 4, gpus: int = 0, **labels: str) -> Node:
    devices = tuple(Device(index=i, kind="A100") for i in range(gpus))
    capacity = Capacity(
        cpu_milli=cpus * 1000, memory_bytes=64 * GIB, tmp_bytes=100 * GIB, devices=devices
    )
    return Node(name=name, cluster="inline", capacity=capacity, labels=labels, boot_id="b")


def never_ends(_order: LaunchOrder) -> Exit | None:
    return None


class Plant:
    """See the module's docstring. `restart` is a new control plane on the same store and engine."""

    def __init__(
        self,
        *nodes: Node,
        program: Callable[[LaunchOrder], Exit | None] = succeed,
        builder: Builder | None = None,
        guard: Callable[[], str] = lambda: "",
    ) -> None:
        self.clock = VirtualClock()
        self.tables = Tables()
        self.engine = InlineEngine(nodes or (node(),), program)
        self.blobs = BlobsDouble()
        self.progress: list[str] = []
        self._builder = builder or BuilderDouble(Faults(Random(0), PEACE))
        self._guard = guard
        self._boots = 0
        self.restart()

    def restart(self) -> None:
        self._boots += 1
        self.work: list[Callable[[], None]] = []
        owner = f"controller-{self._boots}"
        self.store: Store = MemoryStore(self.clock.now_us, owner=owner, tables=self.tables)
        self.engine.rescan()
        plane = assemble(
            Ports(
                store=self.store,
                engines={self.engine.cluster: self.engine},
                builder=self._builder,
                trees=TreesDouble(),
                blobs=self.blobs,
                clock=self.clock,
                workers=self,
            ),
            owner=owner,
            version="test",
            progress=lambda number, line: self.progress.append(f"{number} {line}"),
            guard=self._guard,
        )
        self.controller = plane.controller
        self.dispatcher = plane.dispatcher
        self.commands = plane.commands
        self.nodes = plane.nodes
        self.cluster = plane.cluster
        self.datasets = plane.datasets
        self.tree = plane.tree
        self.machines = plane.machines
        self.queries = plane.queries
        self.feed = plane.feed
        self.controller.register_nodes()

    def submit(self, lane: str, work: Callable[[], None]) -> None:
        """`ports.system.Workers`."""
        self.work.append(work)

    def settle(self, seconds: float = 0.0) -> None:
        """Let everything happen that happens by itself, after `seconds` have passed."""
        self.clock.advance_to(self.clock.now_us() + int(seconds * 1e6))
        for _ in range(1000):
            self.controller.step()
            work, self.work = self.work, []
            for one in work:
                one()
            if not work and not self.controller.awake:
                return
        raise AssertionError("the plant does not settle")

    def run(self, spec: JobSpec, who: Principal = ALICE) -> JobId:
        """Submit a single job and let it happen."""
        (job,) = self.commands.submit(who, spec)
        self.settle()
        return job

    def row(self, job: JobId) -> Job:
        found = self.store.job(job)
        assert found is not None
        return found

    def state(self, job: JobId) -> JobState:
        return self.row(job).state
