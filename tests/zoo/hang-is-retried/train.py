import os
import threading
import time

for step in range(10):
    time.sleep(0.1)
    print("step", step, flush=True)
if os.environ["ZENKEI_ATTEMPT"].endswith("/1"):
    threading.Event().wait()
