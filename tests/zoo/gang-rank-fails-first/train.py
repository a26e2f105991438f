from ring import RANK, all_reduce, connect

links = connect()
for step in range(1000):
    if step == 3 and RANK == 2:
        raise ValueError(f"bad label in batch {step}")
    all_reduce(links, step)
