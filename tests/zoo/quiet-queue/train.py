import os
import time

for task in range(10):
    time.sleep(0.2)
    print("task", task, flush=True)
until = time.monotonic() + 20
while not os.path.exists("next-task") and time.monotonic() < until:
    time.sleep(0.5)
print("no more tasks", flush=True)
