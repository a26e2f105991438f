import threading
import time

lock = threading.Lock()


def beat():
    """A helper thread that is alive is no progress."""
    while True:
        time.sleep(0.5)


threading.Thread(target=beat, daemon=True).start()
for step in range(10):
    with lock:
        time.sleep(0.2)
        print("step", step, flush=True)
lock.acquire()
with lock:
    print("never", flush=True)
