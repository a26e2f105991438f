"""Fragmentation gradient descent: where does a request leave the least room that few could use?

Made by `scheduler` for `Placement.FGD`, and the yardstick of `bench/packing.py`.
Source: Weng et al., USENIX ATC 2023, section 3, rounded as its artifact does: 100 x the logistic of
the drop in thousands of GPU-milli, rounded down, because the ties that this makes fill nodes in
order. Fragmentation of a node: what a random typical request cannot use of its free GPUs.
Cost: `rate` O(nodes x devices^2 x typical requests), 20 us a node with a hundred of these.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from zenkei.model.resources import WHOLE_GPU_MILLI
from zenkei.scheduler.placement.port import Ask, Floats, Ints, NodeModel, NodeTable, Rater
from zenkei.scheduler.placement.random import shuffled

COVERED: Final = 0.95
_SPARE: Final = 1e9
_MOST_CELLS: Final = 2_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Typical:
    """The most frequent requests, and how probable each is among them."""

    asks: tuple[Ask, ...]
    shares: tuple[float, ...]


def typical(mix: Mapping[Ask, float], covered: float = COVERED) -> Typical:
    """The most frequent requests that cover a share of all.

    Of equally frequent ones the artifact takes that with more CPU, then with more of each GPU, then
    with more GPUs first: which of the rarest are left out moves its results.
    Raises ValueError for a count that is negative, infinite or not a number.
    """
    for count in mix.values():
        if not (math.isfinite(count) and count >= 0):
            raise ValueError(f"a count of arrivals is {count}")
    ranked = sorted(mix.items(), key=lambda item: _rank(*item), reverse=True)
    needed = covered * sum(mix.values())
    found: list[tuple[Ask, float]] = []
    seen = 0.0
    for ask, count in ranked:
        if seen >= needed:
            break
        found.append((ask, count))
        seen += count
    return Typical(
        asks=tuple(ask for ask, _ in found), shares=tuple(count / seen for _, count in found)
    )


def _rank(ask: Ask, count: float) -> tuple[float, int, int, int, str]:
    return count, ask.cpu_milli, ask.gpu_milli, ask.gpu_count, "|".join(ask.gpu_kinds)


class Fgd:
    """See the module's docstring. seed: equal scores go to the first in an order that it shuffles;

    None leaves them to the index.
    """

    width = 0

    def __init__(self, requests: Typical, *, version: int = 0, seed: int | None = None) -> None:
        self.version = version
        self.seed = seed
        kinds: dict[tuple[int, tuple[str, ...], int], int] = {}
        rows = [
            (
                ask,
                share,
                kinds.setdefault((ask.gpu_count, ask.gpu_kinds, ask.gpu_milli), len(kinds)),
            )
            for ask, share in zip(requests.asks, requests.shares, strict=True)
            if ask.gpu_count
        ]
        self.requests = rows
        self.cpu_milli = np.array([ask.cpu_milli for ask, _, _ in rows], dtype=np.int64)
        self.share = np.array([share for _, share, _ in rows])
        self.kind = np.array([kind for _, _, kind in rows], dtype=np.int64)
        self.kinds = tuple(kinds)
        sizes = sorted({milli for _, _, milli in self.kinds})
        self.sizes = np.array(sizes, dtype=np.int64)
        self.size_of = np.array([sizes.index(milli) for _, _, milli in self.kinds], dtype=np.int64)
        self.count_of = np.array([count for count, _, _ in self.kinds], dtype=np.int64)
        self.whole = float(sum(requests.shares))

    def features(
        self, model: NodeModel, gpu_milli: Sequence[int], cpu_milli: int
    ) -> tuple[float, ...]:
        return ()

    def rater(self, ask: Ask) -> Rater:
        return _Rater(self, ask)

    def takes(self, models: list[NodeModel]) -> NDArray[np.bool_]:
        """`[models, kinds of requests]`: whether a node's GPUs are of a model that one takes."""
        return np.array(
            [
                [
                    bool(model.kinds) and (not allowed or any(k in allowed for k in model.kinds))
                    for _, allowed, _ in self.kinds
                ]
                for model in models
            ],
            dtype=np.bool_,
        ).reshape(len(models), len(self.kinds))

    def fragments(self, gpu: Ints, cpu_milli: Ints, takes: NDArray[np.bool_]) -> Floats:
        """Of nodes `[S]`: free GPU-milli that a random request cannot use. gpu `[S, D]`."""
        room = gpu[:, :, None] >= self.sizes
        usable = np.einsum("sd,sdz->sz", gpu, room, dtype=np.float64)[:, self.size_of]
        fits = takes & (room.sum(axis=1)[:, self.size_of] >= self.count_of)
        usable = np.where(fits, usable, 0.0)
        apt = cpu_milli[:, None] >= self.cpu_milli
        used = (usable[:, self.kind] * self.share * apt).sum(axis=1)
        fragments: Floats = gpu.sum(axis=1) * self.whole - used
        return fragments


class _Rater:
    def __init__(self, scorer: Fgd, ask: Ask) -> None:
        self._scorer = scorer
        self._ask = ask
        self._takes = np.zeros((0, 0), dtype=np.bool_)
        self._spare = np.zeros(0)

    def rate(self, nodes: NodeTable, at: Ints) -> Floats:
        if len(nodes.models) != len(self._takes):
            self._takes = self._scorer.takes(nodes.models)
            self._spare = np.array([0.0 if model.kinds else _SPARE for model in nodes.models])
        step = max(1, _MOST_CELLS // (len(nodes.gpu) ** 2 * max(1, len(self._scorer.requests))))
        parts = [self._rate(nodes, at[i : i + step]) for i in range(0, len(at), step)]
        rating = np.concatenate(parts) if parts else np.zeros(0)
        if self._scorer.seed is not None:
            rating += 0.5 * shuffled(at, self._scorer.seed)
        if not self._ask.gpu_count:
            rating += self._spare[nodes.model[at]]
        return rating

    def _rate(self, nodes: NodeTable, at: Ints) -> Floats:
        gpu, takes = nodes.gpu.take(at, axis=1).T, self._takes[nodes.model[at]]
        cpu_milli = nodes.cpu_milli[at]
        before = self._scorer.fragments(gpu, cpu_milli, takes)
        after = self._after(gpu)
        options = after.shape[1]
        fragments = self._scorer.fragments(
            after.reshape(-1, gpu.shape[1]),
            np.repeat(cpu_milli - self._ask.cpu_milli, options),
            np.repeat(takes, options, axis=0),
        ).reshape(-1, options)
        drop = before[:, None] - fragments
        score: Floats = self._rounded(drop)
        if self._ask.shared:
            score = np.where(gpu >= self._ask.gpu_milli, score, -1.0)
        best: Floats = score.max(axis=1)
        return best

    @staticmethod
    def _rounded(drop: Floats) -> Floats:
        """Noise in the last bits must not tell equal drops apart at the edge of a step."""
        steep = np.rint(drop * 1e6) / 1e9
        score: Floats = np.floor(100.0 / (1.0 + np.exp(-steep)) + 1e-9)
        return score

    def _after(self, gpu: Ints) -> Ints:
        """`[S, options, D]`: what is left, for each device that a share may be taken from."""
        ask = self._ask
        if ask.shared:
            devices = gpu.shape[1]
            taken = ask.gpu_milli * np.eye(devices, dtype=np.int64)
            shares: Ints = np.maximum(gpu[:, None, :] - taken, 0)
            return shares
        free = gpu >= WHOLE_GPU_MILLI
        first = free & (np.cumsum(free, axis=1) <= ask.gpu_count)
        left: Ints = np.where(first, gpu - WHOLE_GPU_MILLI * bool(ask.gpu_count), gpu)
        return left[:, None, :]

    def device(self, model: NodeModel, gpu_milli: Sequence[int], cpu_milli: int) -> int:
        gpu = np.array([gpu_milli], dtype=np.int64)
        after = self._after(gpu)[0]
        left = np.full(len(after), cpu_milli - self._ask.cpu_milli)
        takes = np.repeat(self._scorer.takes([model]), len(after), axis=0)
        before = self._scorer.fragments(gpu, np.array([cpu_milli]), takes[:1])
        score = self._rounded(before - self._scorer.fragments(after, left, takes))
        allowed = model.allows(self._ask)
        able = [i for i, m in enumerate(gpu_milli) if m >= self._ask.gpu_milli and allowed[i]]
        return max(able, key=lambda i: (float(score[i]), -i))
