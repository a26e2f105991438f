import threading
import time

for step in range(10):
    time.sleep(0.2)
    print("step", step, flush=True)
threading.Event().wait(25.0)
print("nobody has stopped it", flush=True)
