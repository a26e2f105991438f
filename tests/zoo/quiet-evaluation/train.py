import time


def busy(for_s):
    until = time.monotonic() + for_s
    while time.monotonic() < until:
        pass


for _ in range(2):
    for step in range(20):
        busy(0.25)
        print("step", step, flush=True)
    busy(20 * 0.25)
    print("evaluated", flush=True)
