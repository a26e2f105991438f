import os

from ring import RANK, all_reduce, connect

links = connect()
for step in range(1000):
    if step == 3 and RANK == 1:
        os._exit(3)
    all_reduce(links, step)
