import sys
import time
import traceback

from ring import RANK, all_reduce, connect

links = connect()
for step in range(1000):
    if step == 3 and RANK == 2:
        try:
            raise RuntimeError("NCCL error: unhandled system error, ncclSystemError: last error")
        except RuntimeError:
            traceback.print_exc()
            links[0].close()
            time.sleep(60)
            sys.exit(1)
    all_reduce(links, step)
