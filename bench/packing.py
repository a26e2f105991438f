"""How full a cluster gets: the saturation experiment of FGD (ATC 2023), placed by the planner.

`python -m bench.packing --traces DIR --variant NAME --seeds 42,43 --policy default` for any folder
with nodes.csv, jobs_NAME.csv and arrivals_NAME.csv, gzipped or not. Pods arrive in that order, none
departs, none waits: what fits nowhere is dropped. alloc_X: allocated GPU in % of capacity when
requests so far round to X %; fragpct_X: fragmentation in % of capacity at the last such arrival.
`--remix KIND=SHARE` in place of `--variant` draws the pods anew, see `bench.remix`.
`--mix given` (the default of fgd) knows all pods of the variant, `learned` only those that came.
bestfit and random are those of the FGD artifact, not the planner's own policies of that name.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
import math
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from zenkei.model.cluster import Node
from zenkei.model.resources import Capacity, Device, Free, Misfit, Request, fits
from zenkei.scheduler.index import NodeIndex, NodeRow, Shape
from zenkei.scheduler.placement import mix
from zenkei.scheduler.placement.best_fit import BestFit
from zenkei.scheduler.placement.fgd import Fgd, Typical, typical
from zenkei.scheduler.placement.first_fit import FirstFit
from zenkei.scheduler.placement.hole_value import HoleValue
from zenkei.scheduler.placement.port import Ask, Floats, Ints, NodeTable, Rater, Scorer
from zenkei.scheduler.placement.random import RandomPlacement, shuffled

ALLOC = (60, 80, 90, 100, 110, 120, 130)
FRAG = (60, 80, 90, 100, 130)
POLICIES = ("default", "fgd", "bestfit", "firstfit", "random")


@dataclass(frozen=True, kw_only=True)
class Workload:
    """nodes: those with GPUs. pods, durations_s by row; arrivals: rows by seed."""

    name: str
    nodes: tuple[Node, ...]
    pods: dict[int, Request]
    durations_s: dict[int, float]
    arrivals: dict[int, list[int]]

    @property
    def capacity_milli(self) -> int:
        return 1000 * sum(len(node.capacity.devices) for node in self.nodes)


def rows_of(folder: Path, name: str) -> list[dict[str, str]]:
    packed = folder / f"{name}.csv.gz"
    if packed.exists():
        with gzip.open(packed, "rt", encoding="utf-8", newline="") as file:
            return list(csv.DictReader(io.StringIO(file.read())))
    with open(folder / f"{name}.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def number(text: str, what: str) -> float:
    """A finite number that is not negative, or an error that names what it was for."""
    value = float(text)
    if not (math.isfinite(value) and value >= 0):
        raise SystemExit(f"{what}: {text!r} is no amount")
    return value


def load(folder: Path, variant: str) -> Workload:
    nodes = tuple(_node(row) for row in rows_of(folder, "nodes") if number(row["gpus"], "gpus"))
    jobs = rows_of(folder, f"jobs_{variant}")
    pods = {int(row["row"]): _request(row) for row in jobs}
    durations = {int(row["row"]): number(row["duration_s"] or "0", "duration_s") for row in jobs}
    arrivals: dict[int, list[int]] = {}
    if any(folder.glob(f"arrivals_{variant}.csv*")):
        for row in rows_of(folder, f"arrivals_{variant}"):
            for column, pod in row.items():
                if pod:
                    arrivals.setdefault(int(column.removeprefix("seed")), []).append(int(pod))
    return Workload(name=variant, nodes=nodes, pods=pods, durations_s=durations, arrivals=arrivals)


def _node(row: dict[str, str]) -> Node:
    kind = row["gpu_type"]
    capacity = Capacity(
        cpu_milli=round(1000 * number(row["cpus"], "cpus")),
        memory_bytes=round(number(row["mem_gib"], "mem_gib") * (1 << 30)),
        tmp_bytes=0,
        devices=tuple(Device(index=i, kind=kind) for i in range(int(row["gpus"]))),
    )
    return Node(name=row["name"], cluster="c", capacity=capacity)


def _request(row: dict[str, str]) -> Request:
    count = int(row["num_gpu"])
    milli = 0 if not count else 1000 if count > 1 else int(row["gpu_milli"])
    # as it is written: the artifact takes A|B and A|B|B for two combinations
    kinds = [kind for kind in row["gpu_type"].split("|") if kind] if count else []
    return Request(
        cpu_milli=round(1000 * number(row["cpus"], "cpus")),
        memory_bytes=round(number(row["mem_gib"], "mem_gib") * (1 << 30)),
        gpu_count=count,
        gpu_milli=milli,
        gpu_kinds=tuple(kinds),
    )


def counted(workload: Workload, rows: list[int] | None = None) -> Counter[Ask]:
    pods = workload.pods
    return Counter(Ask.of(pods[row]) for row in (pods if rows is None else rows))


class Cluster:
    """The planner's index, and what a start does to it."""

    def __init__(self, nodes: tuple[Node, ...], scorer: Scorer) -> None:
        self.index = NodeIndex(scorer)
        for node in nodes:
            self.index.put(NodeRow(node, Free.of(node.capacity)))

    def start(self, request: Request, parts: int = 1) -> list[tuple[NodeRow, tuple[Any, ...]]]:
        """The nodes and devices that it got; none if it does not fit."""
        shape = Shape("c", Ask.of(request), ())
        rows = self.index.select(shape, request, parts, least=parts)
        got = []
        for row in rows:
            devices = self.index.devices(shape, row)
            if not devices and request.gpu_count:
                found = fits(row.node.capacity, row.free, request)
                assert not isinstance(found, Misfit), found
                devices = found
            got.append((row, devices))
        for row, devices in got:
            row.free.take(request, devices)
            self.index.move(row)
        return got

    def forget(self) -> None:
        """Ratings are asked anew, as random ones must be for each decision."""
        for columns in self.index._columns.values():
            columns._ratings.clear()

    def end(self, request: Request, got: list[tuple[NodeRow, tuple[Any, ...]]]) -> None:
        for row, devices in got:
            row.free.give_back(request, devices)
            self.index.move(row)


class EvenFit(BestFit):
    """Best fit of the artifact: least left of CPU (of 128 cores) and GPU (of 8), in equal parts."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def rater(self, ask: Ask) -> Rater:
        return _EvenFit(ask, super().rater(ask), self._seed)


class _EvenFit:
    def __init__(self, ask: Ask, fullest: Rater, seed: int) -> None:
        self._ask, self._seed = ask, seed
        self.device = fullest.device

    def rate(self, nodes: NodeTable, at: Ints) -> Floats:
        cpu_milli = nodes.cpu_milli[at] - self._ask.cpu_milli
        gpu_milli = nodes.total[at] - self._ask.gpu_count * self._ask.gpu_milli
        left = 0.5 * cpu_milli / 128_000 + 0.5 * gpu_milli / 8_000
        rating: Floats = np.floor(100 * (1.0 - left)) + 0.5 * shuffled(at, self._seed)
        return rating


class Lots(RandomPlacement):
    """Any node that fits, drawn for each decision."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self._next = seed << 32

    def rater(self, ask: Ask) -> Rater:
        self._next += 1
        return RandomPlacement(self._next).rater(ask)


class Policy:
    """A scorer, learned anew when the number of arrivals has doubled."""

    def __init__(self, name: str, how: str, workload: Workload, seed: int) -> None:
        self.name, self.how = name, how
        self.workload, self.seed = workload, seed
        self.known = 0
        self.ended = 0
        self.learning_s = 0.0
        self.scorer = self._make(counted(workload) if how == "given" else Counter())

    def _make(self, known: Counter[Ask]) -> Scorer:
        if self.name == "default":
            begin = time.process_time()
            tables = mix.of_asks(
                known,
                self.workload.nodes,
                churn=mix.churn(sum(known.values()), self.ended),
                version=self.known,
                prior=self.how != "given",
            )
            self.learning_s += time.process_time() - begin
            return HoleValue(tables)
        if self.name == "fgd":
            requests = typical(known) if known else Typical(asks=(), shares=())
            return Fgd(requests, version=self.known, seed=self.seed)
        made: dict[str, Scorer] = {
            "bestfit": EvenFit(self.seed),
            "firstfit": FirstFit(),
            "random": Lots(self.seed),
        }
        return made[self.name]

    def learn(self, cluster: Cluster, seen: Counter[Ask], arrived: int) -> None:
        learns = self.how == "learned" and self.name in {"default", "fgd"}
        if learns and mix.due(self.known, arrived):
            self.known = arrived
            self.scorer = self._make(seen)
            cluster.index.use_scorer(self.scorer)
        if self.name == "random":
            cluster.forget()


def shuffled_nodes(nodes: tuple[Node, ...], seed: int) -> tuple[Node, ...]:
    """Named anew, so that the order in which equal ones are taken is that of the seed."""
    order = np.argsort(shuffled(np.arange(len(nodes)), seed))
    return tuple(
        Node(name=f"n{place:05}", cluster="c", capacity=nodes[i].capacity)
        for place, i in enumerate(order.tolist())
    )


def run(workload: Workload, seed: int, name: str, how: str) -> dict[str, float]:
    """alloc_X, fragpct_X, and seconds per placement, of one seed."""
    policy = Policy(name, how, workload, seed)
    cluster = Cluster(shuffled_nodes(workload.nodes, seed), policy.scorer)
    meter = Fgd(typical(counted(workload)))
    capacity = workload.capacity_milli
    seen: Counter[Ask] = Counter()
    requested = allocated = placed = 0
    shares: dict[int, list[float]] = {}
    fragments: dict[int, float] = {}
    frag_at = _last_at(workload, seed)
    begin = time.process_time()
    for arrived, row in enumerate(workload.arrivals[seed]):
        policy.learn(cluster, seen, arrived)
        request = workload.pods[row]
        seen[Ask.of(request)] += 1
        milli = request.gpu_count * request.gpu_milli
        requested += milli
        if cluster.start(request):
            allocated += milli
            placed += 1
        shares.setdefault(math.floor(100 * requested / capacity + 0.5), []).append(allocated)
        if arrived in frag_at:
            fragments[frag_at[arrived]] = 100 * _fragments(cluster, meter) / capacity
    used_s = time.process_time() - begin - policy.learning_s
    result = {f"alloc_{x}": _percent(shares, x, capacity) for x in ALLOC}
    result |= {f"fragpct_{x}": round(fragments.get(x, math.nan), 3) for x in FRAG}
    return result | {"placements_per_s": round(placed / used_s), "learning_s": policy.learning_s}


def _percent(shares: dict[int, list[float]], x: int, capacity: int) -> float:
    values = shares.get(x)
    return round(100 * sum(values) / len(values) / capacity, 4) if values else math.nan


def _last_at(workload: Workload, seed: int) -> dict[int, int]:
    """The last arrival that rounds to each X of `FRAG`."""
    requested, last = 0, {}
    for arrived, row in enumerate(workload.arrivals[seed]):
        request = workload.pods[row]
        requested += request.gpu_count * request.gpu_milli
        last[math.floor(100 * requested / workload.capacity_milli + 0.5)] = arrived
    return {last[x]: x for x in FRAG if x in last}


def _fragments(cluster: Cluster, meter: Fgd) -> float:
    (columns,) = cluster.index._columns.values()
    takes = meter.takes(columns.models)[columns.model]
    return float(meter.fragments(columns.gpu.T, columns.cpu_milli, takes).sum())


def known(folder: Path, what: str, seeds: list[int]) -> Workload:
    """A variant of the folder, or a mix of `bench.remix`; with arrivals by seeds if it has none."""
    from bench import remix

    workload = remix.remixed(folder, what) if "=" in what else load(folder, what)
    if not workload.arrivals:
        workload.arrivals.update({seed: remix.arrivals(workload, seed) for seed in seeds})
    return workload


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.packing")
    parser.add_argument("--traces", type=Path, required=True)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--variant")
    what.add_argument("--remix", metavar="KIND=SHARE", help="see bench.remix")
    parser.add_argument("--seeds", default="42,43,44")
    parser.add_argument("--policy", choices=POLICIES, default="default")
    parser.add_argument("--mix", choices=("given", "learned"), default=None)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    how = arguments.mix or ("given" if arguments.policy == "fgd" else "learned")
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    workload = known(arguments.traces, arguments.variant or arguments.remix, seeds)
    if unknown := set(seeds) - set(workload.arrivals):
        parser.error(f"no arrivals for seeds {sorted(unknown)}: {sorted(workload.arrivals)}")
    results = {seed: run(workload, seed, arguments.policy, how) for seed in seeds}
    if arguments.json:
        head = {"variant": workload.name, "policy": arguments.policy, "mix": how}
        seeds_json = [{"seed": seed, **_finite(result)} for seed, result in results.items()]
        print(json.dumps(head | {"seeds": seeds_json}, indent=1))
        return 0
    for seed, result in results.items():
        print(seed, "  ".join(f"{key}={value:.2f}" for key, value in result.items()))
    return 0


def _finite(result: dict[str, float]) -> dict[str, float | None]:
    return {key: value if math.isfinite(value) else None for key, value in result.items()}


if __name__ == "__main__":
    raise SystemExit(main())
