import time

from mpi4py import MPI

world = MPI.COMM_WORLD
world.barrier()
if world.rank == 1:
    world.Abort(7)
time.sleep(1000)
