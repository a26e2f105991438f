import time

for step in range(10):
    time.sleep(0.2)
    print("step", step, flush=True)
time.sleep(10**9)  # meant to be nanoseconds
