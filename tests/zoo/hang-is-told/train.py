import threading
import time

for step in range(10):
    time.sleep(0.1)
    print("step", step, flush=True)
lock = threading.Lock()
lock.acquire()
threading.Timer(20.0, lock.release).start()
lock.acquire()
print("somebody has helped", flush=True)
