"""Workloads that nothing was tuned on: the pods of a known variant, drawn anew in other shares.

`python -m bench.packing --remix multi=0.5` and the hold-out of `bench.quality`. KIND=SHARE: which
pods get which share of the GPUs that all ask for: `multi` those for two GPUs or more, `share` those
for a part of one; or of all pods with GPUs (`bound`: those bound to models) or of all pods (`cpu`:
those without GPUs). As many pods as the variant has are drawn with replacement, by SEED, from the
variant with the most of that kind. Arrivals by any seed: the pods once in shuffled order, then
random ones until requests reach 130 % of the GPUs, as in the folder's own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

from bench import packing
from zenkei.model.resources import Request

SEED = 7
UNTIL = 1.3


def _milli(request: Request) -> float:
    return request.gpu_count * request.gpu_milli


def _gpus(request: Request) -> float:
    return float(request.gpu_count > 0)


def _one(request: Request) -> float:
    return 1.0


KINDS: dict[str, tuple[str, Callable[[Request], bool], Callable[[Request], float]]] = {
    "multi": ("multigpu30", lambda pod: pod.gpu_count > 1, _milli),
    "share": ("gpushare60", lambda pod: 0 < pod.gpu_milli < 1000, _milli),
    "bound": ("gpuspec25", lambda pod: bool(pod.gpu_kinds), _gpus),
    "cpu": ("default", lambda pod: not pod.gpu_count, _one),
}
"""By kind: the variant that is drawn from, which pods count, and how much each."""
HOLDOUT = ("multi=0.4", "multi=0.5", "share=0.8", "share=1.0", "bound=0.33", "cpu=0.3")


def remixed(folder: Path, what: str, seed: int = SEED) -> packing.Workload:
    """Raises SystemExit for what is no KIND=SHARE."""
    kind, _, text = what.partition("=")
    if kind not in KINDS:
        raise SystemExit(f"--remix {what}: no kind of {', '.join(KINDS)}")
    share = packing.number(text or "none", f"--remix {what}")
    variant, counts, weight = KINDS[kind]
    base = packing.load(folder, variant)
    rows = sorted(base.pods)
    mine = sum(weight(base.pods[row]) for row in rows if counts(base.pods[row]))
    rest = sum(weight(base.pods[row]) for row in rows) - mine
    odds = (share / mine, (1.0 - share) / rest)
    weights = [odds[0] if counts(base.pods[row]) else max(0.0, odds[1]) for row in rows]
    drawn = Random(seed).choices(rows, weights, k=len(rows))
    return replace(
        base,
        name=what,
        pods={place: base.pods[row] for place, row in enumerate(drawn)},
        durations_s={place: base.durations_s[row] for place, row in enumerate(drawn)},
        arrivals={},
    )


def arrivals(workload: packing.Workload, seed: int) -> list[int]:
    """Rows in the order in which they come."""
    rng = Random(seed)
    rows = sorted(workload.pods)
    order = rng.sample(rows, len(rows))
    asked = sum(_milli(workload.pods[row]) for row in order)
    while asked < UNTIL * workload.capacity_milli:
        order.append(rng.choice(rows))
        asked += _milli(workload.pods[order[-1]])
    return order
