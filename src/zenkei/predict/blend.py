"""One estimate of a wait from two: what the simulated line says, and what waits were lately.

Used for each quantile that is shown, before `coverage` corrects it; `control` tells it the same
things. Pure. The simulated line knows who stands where and is mostly far better; where run times
are unknown and lines long it can be wrong by weeks, and then the last waits are better.

Experts are all mixtures in the logarithm, (raw · bias)^share · usual^(1 - share). The answer is
their mean, each weighted by a power of its pinball loss on the promises that were kept or broken,
faded over `MEMORY` of them (the weighted average forecaster: Cesa-Bianchi, Lugosi, "Prediction,
Learning, and Games", 2006, chapter 2; departure: powers instead of exponentials, because a loss in
seconds has no scale). Promises that are broken already count before the job has started.

Cost: O(experts · open promises) an answer; 0.1 ms for 1,000 open ones.
"""

from __future__ import annotations

import json
from collections import deque
from typing import Any, Final, NamedTuple

import numpy as np

from zenkei.predict.survival import FloatArray

WINDOW: Final = 500
MEMORY: Final = 150.0
POWER: Final = 8.0
SOFTENING_S: Final = 60.0
FEWEST: Final = 20
"""Waits below which nobody knows what is usual."""
MOST_OPEN: Final = 10_000
STATE_VERSION: Final = 1

SHARES: FloatArray = np.repeat([0.0, 0.25, 0.5, 0.75, 1.0], 5)
BIASES: FloatArray = np.log(np.tile([0.35, 0.6, 1.0, 1.6, 2.8], 5))
_TRUST: FloatArray = np.where((SHARES == 1.0) & (BIASES == 0.0), 4.0, 1.0)
"""Weights before anything is known: the simulated line as it is."""


class Asked(NamedTuple):
    """An open promise: when it was given, and what each expert said (s)."""

    since_s: float
    told_s: list[float]


class Blend:
    """Mixes estimates of the quantile `q`."""

    def __init__(self, q: float) -> None:
        self.q = q
        self._waits: deque[float] = deque(maxlen=WINDOW)
        self._losses: FloatArray = np.zeros(len(SHARES))
        self._open: dict[str, Asked] = {}

    def promise(self, job: str, raw_s: float, now_s: float) -> float:
        """What to believe of a wait that the simulated line puts at `raw_s` from now."""
        told_s = self._experts(raw_s)
        if job not in self._open and len(self._open) < MOST_OPEN:
            self._open[job] = Asked(now_s, told_s.tolist())
        weights = self.weights(now_s)
        return float(np.exp(np.log(told_s + SOFTENING_S) @ weights)) - SOFTENING_S

    def started(self, job: str, now_s: float) -> None:
        """A job started; unknown ones are nobody's promise."""
        asked = self._open.pop(job, None)
        if asked is None:
            return
        wait_s = now_s - asked.since_s
        self._waits.append(wait_s)
        miss = wait_s - np.array(asked.told_s)
        loss = np.maximum(self.q * miss, (self.q - 1.0) * miss)
        self._losses = (1.0 - 1.0 / MEMORY) * self._losses + loss

    def withdrawn(self, job: str) -> None:
        """A job will never start."""
        self._open.pop(job, None)

    def weights(self, now_s: float) -> FloatArray:
        """Of the experts, 1 together."""
        losses = self._losses
        if self._open:
            since_s = np.array([asked.since_s for asked in self._open.values()])
            told_s = np.array([asked.told_s for asked in self._open.values()])
            late_s = np.maximum(now_s - since_s[:, None] - told_s, 0.0)
            losses = losses + self.q * late_s.sum(axis=0)
        if len(self._waits) < FEWEST or losses.min() <= 0.0:
            weights = _TRUST * (BIASES == 0.0) * (SHARES == 1.0)
        else:
            weights = _TRUST * (losses.min() / losses) ** POWER
        mixed: FloatArray = weights / weights.sum()
        return mixed

    def _experts(self, raw_s: float) -> FloatArray:
        usual_s = float(np.quantile(np.array(self._waits), self.q)) if self._waits else raw_s
        raw, usual = np.log(raw_s + SOFTENING_S), np.log(usual_s + SOFTENING_S)
        told = SHARES * (raw + BIASES) + (1.0 - SHARES) * usual
        experts: FloatArray = np.maximum(np.exp(told) - SOFTENING_S, 0.0)
        return experts

    def state(self) -> bytes:
        """All of it, as JSON."""
        document = {
            "version": STATE_VERSION,
            "q": self.q,
            "waits": list(self._waits),
            "losses": self._losses.tolist(),
            "open": self._open,
        }
        return json.dumps(document, separators=(",", ":")).encode()

    @classmethod
    def from_state(cls, state: bytes) -> Blend:
        """Raises ValueError for a state of another version, or none at all."""
        document: dict[str, Any] = json.loads(state)
        if document.get("version") != STATE_VERSION:
            raise ValueError(f"a blend of version {document.get('version')}: cannot be read")
        kept = cls(document["q"])
        kept._waits.extend(document["waits"])
        kept._losses = np.array(document["losses"])
        kept._open = {job: Asked(*asked) for job, asked in document["open"].items()}
        return kept
