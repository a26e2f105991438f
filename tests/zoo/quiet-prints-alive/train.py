import threading
import time

import zenkei.sdk as zk


def work():
    for part in range(25):
        time.sleep(1.0)
        print("part", part, flush=True)


for step in range(10):
    time.sleep(0.2)
    zk.report(step=step, loss=1.0)
thread = threading.Thread(target=work)
thread.start()
thread.join()
