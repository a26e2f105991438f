"""A control plane put together from ports. Called by the composition root, the simulator, tests.

There is one way to join the use-cases, so what is simulated and measured is what runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from zenkei.control.checkpoints import CheckpointKeeper, Shared
from zenkei.control.cluster import ClusterCommands
from zenkei.control.commands import Commands
from zenkei.control.controller import Controller
from zenkei.control.datapins import PinCache
from zenkei.control.datasets import Datasets
from zenkei.control.dispatcher import Dispatcher
from zenkei.control.feed import Feed
from zenkei.control.forecasts import Forecasts
from zenkei.control.learning import Learning
from zenkei.control.machines import Machines
from zenkei.control.nodecommands import NodeCommands
from zenkei.control.orders import Orders
from zenkei.control.planner import PlanKeeper
from zenkei.control.prepare import DataPreparer, Preparer
from zenkei.control.queries import Queries
from zenkei.control.queuetree import QueueTree
from zenkei.control.sealing import Sealer
from zenkei.control.specs import SpecCache
from zenkei.model.access import Principal
from zenkei.ports.blobs import Blobs
from zenkei.ports.builder import Builder
from zenkei.ports.engine import Engine
from zenkei.ports.store import Store
from zenkei.ports.system import Clock, Workers
from zenkei.ports.trees import Checkpoints, Trees


@dataclass(frozen=True, kw_only=True)
class Ports:
    """What a control plane stands on. engines: by cluster. checkpoints: None: with the code."""

    store: Store
    engines: Mapping[str, Engine]
    builder: Builder
    trees: Trees
    blobs: Blobs
    clock: Clock
    workers: Workers
    checkpoints: Checkpoints | None = None


@dataclass(frozen=True, kw_only=True)
class ControlPlane:
    """The use-cases of one process."""

    commands: Commands
    nodes: NodeCommands
    cluster: ClusterCommands
    datasets: Datasets
    tree: QueueTree
    machines: Machines
    queries: Queries
    feed: Feed
    controller: Controller
    dispatcher: Dispatcher


def assemble(
    ports: Ports,
    *,
    owner: str,
    version: str,
    progress: Callable[[int, str], None] = lambda number, line: None,
    guard: Callable[[], str] = lambda: "",
    whose: Callable[[str], Principal] = lambda name: Principal(name=name),
) -> ControlPlane:
    """Join everything; nothing runs until `controller` is stepped.

    owner: names this process in leases, new at each start. progress: told what a preparation does.
    guard: why nothing may start now. whose: the person of a name, whose jobs are prepared.
    """
    store, engines, pins = ports.store, ports.engines, PinCache(ports.blobs)
    cache, datasets = SpecCache(store), Datasets(store.datasets)
    learning = Learning(store, cache, ports.workers)
    keeper = PlanKeeper(store, cache, learning, Forecasts(store, cache, ports.workers))
    preparer = Preparer(
        store=store,
        cache=cache,
        engines=engines,
        builder=ports.builder,
        data=DataPreparer(datasets, pins, whose),
        progress=progress,
    )
    orders = Orders(store, cache, pins)
    dispatcher = _dispatcher(ports, orders, preparer, owner=owner, version=version)
    controller = Controller(
        store=store,
        cache=cache,
        engines=engines,
        keeper=keeper,
        dispatcher=dispatcher,
        clock=ports.clock,
        workers=ports.workers,
        guard=guard,
    )
    feed = Feed(store)
    # followers are woken last: what they then look for has been handed on already
    store.listen(feed.heard)
    blobs, trees = ports.blobs, ports.trees
    queries = Queries(
        store=store, cache=cache, keeper=keeper, engines=engines, blobs=blobs, trees=trees
    )
    return ControlPlane(
        commands=Commands(store, cache, engines, datasets),
        nodes=NodeCommands(store, cache),
        cluster=ClusterCommands(store),
        datasets=datasets,
        tree=QueueTree(store),
        machines=Machines(store, ports.clock),
        queries=queries,
        feed=feed,
        controller=controller,
        dispatcher=dispatcher,
    )


def _dispatcher(
    ports: Ports, orders: Orders, preparer: Preparer, *, owner: str, version: str
) -> Dispatcher:
    store, cache = ports.store, orders.specs
    return Dispatcher(
        store=store,
        orders=orders,
        engines=ports.engines,
        preparer=preparer,
        sealer=Sealer(
            store=store, cache=cache, trees=ports.trees, blobs=ports.blobs, version=version
        ),
        checkpoints=CheckpointKeeper(
            store=store, cache=cache, checkpoints=ports.checkpoints or Shared(ports.trees)
        ),
        workers=ports.workers,
        owner=owner,
    )
