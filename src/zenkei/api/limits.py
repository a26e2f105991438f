"""Bounds of what may be asked, shared by the command line (which says so first) and the server.

Constants only: the command line reads them without pydantic.
"""

from __future__ import annotations

from typing import Final

NODES: Final = 10_000
"""Virtual nodes of one machine."""
GPUS_PER_NODE: Final = 64
CPUS_PER_NODE: Final = 10_000
ROWS: Final = 10_000
"""Jobs in one answer."""
GRACE_S: Final = 86_400
LINES: Final = 10_000_000
"""Last lines of a log."""
RANK: Final = 10**6 - 1
"""Highest rank, and attempt, that can be asked for."""
ATTEMPT: Final = 10**6 - 1
JOBS_KEPT: Final = 10**9
"""Of `prune --keep`."""
POINTS: Final = 100_000
"""Of one series of a metric."""
