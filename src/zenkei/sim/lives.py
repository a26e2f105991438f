"""A controller that may die at any port call, and the next one on what is durable.

Used by the worlds of this room. What is durable is `Tables`, the engine double and the blobs; all
else goes with a controller. Without a chance of a crash the ports are not even wrapped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from zenkei.control.plane import ControlPlane, Ports, assemble
from zenkei.ports.blobs import Blobs
from zenkei.ports.engine import Engine
from zenkei.ports.system import Workers
from zenkei.sim.clock import WallClock
from zenkei.sim.doubles import BuilderDouble, TreesDouble
from zenkei.sim.faults import Crash, Crashing, Faults
from zenkei.store.memory import MemoryStore, Tables

Run = Callable[[Callable[[], None]], None]
"""Does the work of one controller, as long as that lives."""


class EngineOfMany(Engine, Protocol):
    """An engine double, which outlives controllers."""

    def new_controller(self) -> None: ...


class Lives:
    """plane: of the controller that lives now. workers: made anew for each, from its `Run`."""

    def __init__(
        self,
        *,
        wall: WallClock,
        faults: Faults,
        engine: EngineOfMany,
        blobs: Blobs,
        workers: Callable[[Run], Workers],
    ) -> None:
        self.tables = Tables()
        self.count = 0
        self.plane: ControlPlane
        self._wall = wall
        self._faults = faults
        self._engine = engine
        self._blobs = blobs
        self._workers = workers

    def boot(self) -> None:
        """A new controller process. Crashes while it starts happen too."""
        while True:
            try:
                self._build()
                return
            except Crash:
                continue

    def _build(self) -> None:
        self.count += 1
        epoch = self.count
        self._engine.new_controller()
        owner = f"controller-{epoch}"
        store = MemoryStore(self._wall.now_us, owner=owner, tables=self.tables)
        self.plane = assemble(
            Ports(
                store=self._frail(store, "store"),
                engines={self._engine.cluster: self._frail(self._engine, "engine")},
                builder=BuilderDouble(self._faults),
                trees=TreesDouble(),
                blobs=self._frail(self._blobs, "blobs"),
                clock=self._wall,
                workers=self._workers(lambda work: self._work(epoch, work)),
            ),
            owner=owner,
            version="simulation",
        )
        self.plane.controller.register_nodes()

    def _frail(self, port: Any, name: str) -> Any:
        return Crashing(port, self._faults, name) if self._faults.rates.crash else port

    def _work(self, epoch: int, work: Callable[[], None]) -> None:
        """Work of a controller that has died is never done."""
        if epoch == self.count:
            work()
