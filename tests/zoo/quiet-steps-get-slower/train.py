import time

for step in range(25):
    time.sleep(0.01 * step * step)
    print("step", step, flush=True)
