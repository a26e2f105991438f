import threading
import time

for step in range(10):
    time.sleep(0.2)
    print("step", step, flush=True)
for _ in range(5):
    threading.Event().wait(6.0)
print("nobody has stopped it", flush=True)
