"""The rhythm of a job: how often it shows a sign of progress, and how much silence is unusual.

Called by `hang` for every sign (output, metric, file). Pure: times are given by the caller. Signs
within BURST_S are one sign, so that ten lines printed at once are no rhythm of microseconds.
Memory and time are constant: intervals are counted in classes a quarter of an octave wide.

Limits are multiples of what was seen, never less than what the job file says: a robust quantile
tells the usual, the longest silence that ended well tells the rare (an evaluation after each
epoch). The first intervals count for the longest only: imports and compilation lie between them.
"""

from __future__ import annotations

import math

BURST_S = 0.1
WARM_UP = 2
"""Intervals that say nothing about the usual."""
KNOWN_AFTER = 4
"""Intervals after which a rhythm is known."""
_CLASSES = 4 * 40
_PER_OCTAVE = 4


class Rhythm:
    """quiet_s, startup_s: what the job file says."""

    def __init__(self, quiet_s: float, startup_s: float) -> None:
        self.signs = 0
        self.longest_s = 0.0
        self._quiet_s = quiet_s
        self._startup_s = max(quiet_s, startup_s)
        self._counts = [0] * _CLASSES
        self._counted = 0
        self._last = 0.0
        self._first_of_burst = 0.0

    def begin(self, now: float) -> None:
        """The ranks run: silence is counted from here."""
        self._last = self._first_of_burst = now

    def sign(self, now: float) -> None:
        """Something was heard."""
        if self.signs and now - self._first_of_burst < BURST_S:
            self._last = max(self._last, now)
            return
        if self.signs:
            interval_s = now - self._last
            self.longest_s = max(self.longest_s, interval_s)
            if self.signs > WARM_UP:
                self._counts[_class(interval_s)] += 1
                self._counted += 1
        self.signs += 1
        self._last = self._first_of_burst = now

    def silence_s(self, now: float) -> float:
        return max(0.0, now - self._last)

    @property
    def is_known(self) -> bool:
        return self._counted >= KNOWN_AFTER

    @property
    def usual_s(self) -> float:
        """Nine of ten intervals were at most so long; 0: not known."""
        return self._quantile_s(0.9) if self.is_known else 0.0

    @property
    def typical_s(self) -> float:
        """Half of the intervals were at most so long; 0: not known."""
        return self._quantile_s(0.5) if self.is_known else 0.0

    def blocked_limit_s(self) -> float:
        """Silence after which a job whose every process is seen to wait is hung."""
        if not self.is_known:
            return max(self._startup_s, 3 * self.longest_s)
        return max(self._quiet_s, 10 * self.usual_s, 3 * self.longest_s)

    def collective_limit_s(self) -> float:
        """The same where all ranks were found in a collective, but their processors are busy."""
        return max(4 * self._quiet_s, self.blocked_limit_s())

    def busy_limit_s(self) -> float:
        """The same where nothing speaks for a hang but the silence itself."""
        if not self.is_known:
            return max(4.5 * self._startup_s, 4 * self.longest_s)
        learned_s = max(30 * self.typical_s, 10 * self.usual_s, 4 * self.longest_s)
        return max(15 * self._quiet_s, learned_s)

    def _quantile_s(self, share: float) -> float:
        wanted = share * self._counted
        seen = 0
        for number, count in enumerate(self._counts):
            seen += count
            if count and seen >= wanted:
                return min(_upper_s(number), self.longest_s)
        return self.longest_s


def _class(interval_s: float) -> int:
    """Class 0 holds everything up to a thousandth of a second."""
    octaves = math.log2(max(interval_s, 0.001) / 0.001)
    return min(_CLASSES - 1, int(octaves * _PER_OCTAVE))


def _upper_s(number: int) -> float:
    return float(0.001 * 2.0 ** ((number + 1) / _PER_OCTAVE))
