import fcntl
import os
import time

RANK = int(os.environ["ZENKEI_RANK"])

for step in range(10):
    time.sleep(0.2)
    print("step", step, flush=True)
mine = os.open(f"lock-{RANK}", os.O_CREAT)
fcntl.flock(mine, fcntl.LOCK_EX)
time.sleep(1.0)
other = os.open(f"lock-{1 - RANK}", os.O_CREAT)
fcntl.flock(other, fcntl.LOCK_EX)
