"""Whether a job is larger than the whole cluster, told when it is submitted.

Nodes come and go, so this is a warning: the job waits until there are more. Called by the submit
route. The nodes are counted by kind and kept; a small cluster is counted again after every change,
a large one at most every few seconds. Cost: O(kinds of nodes), O(nodes) when counted again.
"""

from __future__ import annotations

from collections import Counter
from threading import Lock
from typing import Final, TypeAlias

from zenkei.model.job import JobSpec
from zenkei.model.resources import Capacity, Request, allowed_devices, could_fit, matches
from zenkei.model.wording import count
from zenkei.ports.store import Committed, Store
from zenkei.ports.system import Clock
from zenkei.spec.cluster_build import show_amount
from zenkei.spec.problems import listing

SMALL: Final = 500
"""Nodes that are counted again after every change."""
FRESH_US: Final = 10_000_000
_Kind: TypeAlias = tuple[Capacity, tuple[tuple[str, str], ...]]


class Machines:
    """See the module's docstring."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._lock = Lock()
        self._kinds: Counter[_Kind] = Counter()
        self._stale = True
        self._counted_us = 0
        store.listen(self._heard)

    def larger(self, spec: JobSpec) -> str:
        """In words: the job is larger than all there is, and what is the largest; else empty."""
        kinds, request, nodes = self._counted(), spec.resources.node, spec.resources.fewest
        if not kinds:
            return ""
        labelled = {
            kind: n for kind, n in kinds.items() if matches(dict(kind[1]), spec.wanted_labels)
        }
        if not labelled:
            return "no node has the labels that the job asks for; it waits until one has"
        fitting = sum(
            n for (capacity, _), n in labelled.items() if not could_fit(capacity, request)
        )
        if fitting >= nodes:
            return ""
        if fitting:
            return (
                f"the job is larger than the cluster: it asks for {count(nodes, 'node')} with"
                f" {_asked(request)} each, the largest block is"
                f" {count(fitting, 'such node', 'such nodes')}; it waits until there are more"
            )
        return f"no node can hold {_asked(request)}: {_largest(labelled, request)}"

    def _heard(self, committed: Committed) -> None:
        if committed.nodes:
            self._stale = True

    def _counted(self) -> Counter[_Kind]:
        with self._lock:
            now_us = self._clock.now_us()
            recent = 0 <= now_us - self._counted_us < FRESH_US
            if self._stale and not (recent and self._kinds.total() > SMALL):
                self._stale = False
                self._counted_us = now_us
                self._kinds = Counter(
                    (node.capacity, tuple(sorted(node.labels.items())))
                    for node in self._store.nodes()
                )
            return self._kinds


def _asked(request: Request) -> str:
    if request.gpu_count:
        gpus = show_amount("gpus", request.gpu_count * request.gpu_milli)
        kinds = f" ({listing(request.gpu_kinds, 5)})" if request.gpu_kinds else ""
        return f"{gpus} {'GPU' if gpus == '1' else 'GPUs'}{kinds}"
    return f"{show_amount('cpus', request.cpu_milli)} cores"


def _largest(kinds: dict[_Kind, int], request: Request) -> str:
    """The resource that is short everywhere, and the most of it on one node."""
    gpus = max(len(allowed_devices(capacity, request)) for capacity, _ in kinds)
    if request.gpu_count and gpus < request.gpu_count:
        of = " of those models" if request.gpu_kinds else ""
        return f"the most{of} on one node is {count(gpus, 'GPU')}"
    cpus = max(capacity.cpu_milli for capacity, _ in kinds)
    if cpus < request.cpu_milli:
        return f"the most on one node is {show_amount('cpus', cpus)} cores"
    memory = max(capacity.memory_bytes for capacity, _ in kinds)
    if memory < request.memory_bytes:
        return f"the most memory on one node is {memory / (1 << 30):.1f} GiB"
    return "no node has enough of everything at once"
