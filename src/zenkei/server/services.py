"""All that the routes call, made by the composition root. Ports and use-cases only, no adapter."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar

import anyio.to_thread

from zenkei.api.requests import VirtualNodes
from zenkei.control.cluster import ClusterCommands
from zenkei.control.commands import Commands
from zenkei.control.datasets import Datasets
from zenkei.control.datawork import DatasetWork
from zenkei.control.feed import Feed
from zenkei.control.machines import Machines
from zenkei.control.nodecommands import NodeCommands
from zenkei.control.queries import Queries
from zenkei.control.queuetree import QueueTree
from zenkei.control.resultuses import ResultUses
from zenkei.model.access import Principal
from zenkei.ports.blobs import Blobs
from zenkei.ports.store import Store
from zenkei.ports.trees import Trees
from zenkei.server.keeping import Keeping
from zenkei.server.progress import ProgressBoard
from zenkei.server.series import Summaries

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class DatasetServices:
    """names: versions, tags and grants. work: what is done with content."""

    names: Datasets
    work: DatasetWork


@dataclass(frozen=True, kw_only=True)
class Services:
    """One per daemon.

    principal: who a peer's uid is; raises Denied. health: as shown by /v1/health, never raises.
    declare: virtual nodes from now on (Conflict while jobs hold what would vanish). hold_starts:
    why nothing may start any more, or an empty text. stop: end the daemon after the running
    requests.
    """

    commands: Commands
    nodes: NodeCommands
    cluster: ClusterCommands
    tree: QueueTree
    machines: Machines
    queries: Queries
    feed: Feed
    store: Store
    trees: Trees
    blobs: Blobs
    progress: ProgressBoard
    keeping: Keeping
    datasets: DatasetServices
    results: ResultUses
    principal: Callable[[int], Principal]
    health: Callable[[], dict[str, Any]]
    declare: Callable[[VirtualNodes], None]
    hold_starts: Callable[[str], None]
    stop: Callable[[], None]
    version: str
    summaries: Summaries = field(default_factory=Summaries)


async def in_thread(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run what blocks (store, files) outside of the event loop."""
    work = functools.partial(call, *args, **kwargs)
    return await anyio.to_thread.run_sync(work)
