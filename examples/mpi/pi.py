"""Pi by numerical integration: every rank takes its share of the strips, MPI sums them up."""

import math
import os
import sys

from mpi4py import MPI

world = MPI.COMM_WORLD
strips = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
print(f"rank {world.rank} of {world.size} on {os.environ['ZENKEI_NODE']}", flush=True)
share = sum(4.0 / (1.0 + ((i + 0.5) / strips) ** 2) for i in range(world.rank, strips, world.size))
pi = world.reduce(share) or 0.0
if world.rank == 0:
    print(f"pi is {pi / strips:.10f}, off by {abs(pi / strips - math.pi):.1e}")
