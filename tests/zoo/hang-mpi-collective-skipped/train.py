import time

from mpi4py import MPI

world = MPI.COMM_WORLD
for step in range(100):
    time.sleep(0.1)
    if world.rank == 2 and step == 20:
        world.recv(source=0, tag=99)  # nobody sends that
    world.allreduce(1.0)
    if world.rank == 0:
        print("step", step, flush=True)
