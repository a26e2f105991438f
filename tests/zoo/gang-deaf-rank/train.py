import os
import signal

rank = int(os.environ["ZENKEI_RANK"])
if rank == 2:
    raise KeyError("lr")
signal.signal(signal.SIGTERM, signal.SIG_IGN)
while True:
    signal.pause()
