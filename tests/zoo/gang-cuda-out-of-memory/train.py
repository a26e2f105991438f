from ring import RANK, all_reduce, connect


class OutOfMemoryError(RuntimeError):
    """As torch.OutOfMemoryError is shown."""

    __module__ = "torch"


links = connect()
for step in range(1000):
    if step == 3 and RANK == 3:
        raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    all_reduce(links, step)
