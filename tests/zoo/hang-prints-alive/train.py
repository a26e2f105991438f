import threading
import time

import zenkei.sdk as zk


def beat():
    while True:
        time.sleep(1.0)
        print("alive", flush=True)


threading.Thread(target=beat, daemon=True).start()
for step in range(10):
    time.sleep(0.2)
    zk.report(step=step, loss=1.0)
lock = threading.Lock()
lock.acquire()
lock.acquire()
