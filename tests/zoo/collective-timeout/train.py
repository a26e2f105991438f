import os
import sys

print(
    "terminate called after throwing an instance of (c10::DistBackendError)\n"
    "  what():  [PG 0 Rank 0] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=7, "
    "OpType=ALLREDUCE, Timeout(ms)=600000) ran for 600004 milliseconds before timing out.",
    file=sys.stderr,
    flush=True,
)
os.abort()
