"""Waiting for an instant of a clock that somebody may set back.

Asked by planner, lifecycle and store of everything that waits for a time: the delay of a retry, an
effect that is put back, a lease. Pure. Ideal: only what was really put off waits. Departure: a
clock set back by less than the slack lengthens a wait by that much.
"""

from __future__ import annotations

from typing import Final

MAX_BACKOFF_S: Final = 600.0
"""The longest that anything is put off."""
SLACK_S: Final = 60.0
"""A clock that is put right by less than this cuts no wait short."""
FURTHEST_US: Final = int((MAX_BACKOFF_S + SLACK_S) * 1e6)
"""Nothing waits for an instant further ahead than this: the clock was set back meanwhile."""


def is_ahead(instant_us: int, now_us: int) -> bool:
    """Whether `instant_us` is still to be waited for at `now_us`."""
    return now_us < instant_us <= now_us + FURTHEST_US
