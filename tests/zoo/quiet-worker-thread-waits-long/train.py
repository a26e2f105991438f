import queue
import threading
import time
from multiprocessing import resource_tracker

tasks = queue.Queue()


def consume():
    try:
        tasks.get(timeout=25.0)
    except queue.Empty:
        print("no more tasks", flush=True)


resource_tracker.ensure_running()  # a helper process, as shared memory starts it
for step in range(10):
    time.sleep(0.2)
    print("step", step, flush=True)
thread = threading.Thread(target=consume)
thread.start()
thread.join()
