"""A bound on everything that a job file can hold; named in messages, schema and docs."""

from __future__ import annotations

from typing import Final

FILE_BYTES: Final = 1 << 20
NODES_OF_FILE: Final = 150_000
"""Values in a file after its aliases are expanded."""
DEPTH: Final = 24
PROBLEMS: Final = 100
"""Problems listed of one file; more would only scroll the first ones away."""

NAME_CHARS: Final = 200
PLACE_CHARS: Final = 100
"""Of a project's or queue's name."""
COMMAND_BYTES: Final = 120_000
"""Linux takes 131,072 bytes for one argument, and the parameters are put in."""
ARGUMENTS: Final = 4_000
NODES: Final = 100_000
RANKS: Final = 1_024
CPUS: Final = 65_536
GPUS: Final = 1_024
GPU_TYPES: Final = 100
BYTES: Final = 1 << 50
MEMBERS: Final = 100_000
PARAMETERS: Final = 32
PARAMETER_CHARS: Final = 1_000
PRIORITY: Final = 1_000_000
SEED: Final = (1 << 32) - 1
"""The largest that NumPy takes."""
TIME_LIMIT_S: Final = 366 * 86_400
GRACE_S: Final = 3_600
BACKOFF_S: Final = 600
QUIET_S: Final = 7 * 86_400
CHECKPOINTS: Final = 100
RETRIES: Final = 100
RULES: Final = 100
PACKAGES: Final = 1_000
PACKAGE_CHARS: Final = 1_000
INCLUDES: Final = 20
"""Requirements files that one names, `-r` by `-r`."""
VARIABLES: Final = 500
VARIABLE_CHARS: Final = 200
VALUE_BYTES: Final = 32_768
PATTERNS: Final = 1_000
PATH_CHARS: Final = 1_000
DEPENDENCIES: Final = 1_000
LABELS: Final = 64
LABEL_CHARS: Final = 63
LABEL_VALUES: Final = 100
SECRETS: Final = 100

CLUSTER_DEPTH: Final = 64
"""Of a cluster file: each level of queues takes two."""
QUEUES: Final = 20_000
RESERVATIONS: Final = 10_000
PLACES: Final = 10_000
PATTERNS_OF_NODES: Final = 1_000
LEVELS: Final = 10
MEMBERS_OF_QUEUE: Final = 1_000
"""Queues or persons that a reservation names."""
WEIGHT: Final = 1_000_000
TOTAL_GPUS: Final = NODES * GPUS
TOTAL_CPUS: Final = NODES * CPUS
TOTAL_BYTES: Final = 1 << 60
"""Of all nodes together, in a quota: its sums still fit 64 bits."""
POLICY_S: Final = 10 * 366 * 86_400
REASON_CHARS: Final = 200
