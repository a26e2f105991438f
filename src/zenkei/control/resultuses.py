"""All use-cases on results, put together from ports. Called by the composition root, by tests."""

from __future__ import annotations

from dataclasses import dataclass

from zenkei.control.capsules import Capsules, Place
from zenkei.control.commands import Commands
from zenkei.control.datasets import Datasets
from zenkei.control.differences import Differences
from zenkei.control.lineage import LineageQuery
from zenkei.control.queries import Queries
from zenkei.control.reproduce import Reproduction
from zenkei.control.resultcommands import ResultCommands
from zenkei.control.specs import SpecCache
from zenkei.ports.blobs import Blobs
from zenkei.ports.comparing import Comparer
from zenkei.ports.datasets import DataWorks
from zenkei.ports.store import Store
from zenkei.ports.trees import Trees


@dataclass(frozen=True, kw_only=True)
class ResultUses:
    """A part of the server's services."""

    reproduction: Reproduction
    differences: Differences
    lineage: LineageQuery
    commands: ResultCommands
    capsules: Capsules


def assemble_results(
    *,
    store: Store,
    commands: Commands,
    queries: Queries,
    blobs: Blobs,
    trees: Trees,
    comparer: Comparer,
    works: DataWorks,
    place: Place,
) -> ResultUses:
    cache = SpecCache(store)
    reproduction = Reproduction(
        cache=cache,
        queries=queries,
        commands=commands,
        book=store.book,
        comparer=comparer,
        blobs=blobs,
        trees=trees,
    )
    return ResultUses(
        reproduction=reproduction,
        differences=Differences(
            cache=cache,
            queries=queries,
            comparer=comparer,
            reproduction=reproduction,
            blobs=blobs,
        ),
        lineage=LineageQuery(
            queries=queries, book=store.book, datasets=Datasets(store.datasets), blobs=blobs
        ),
        commands=ResultCommands(store=store, queries=queries, book=store.book),
        capsules=Capsules(
            store=store, queries=queries, works=works, blobs=blobs, trees=trees, place=place
        ),
    )
