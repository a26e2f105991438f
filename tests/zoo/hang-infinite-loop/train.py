import time


def solve(tolerance):
    error = 1.0
    while error > tolerance:
        error = error * 0.5 + 0.5 * error  # never gets smaller


for step in range(100):
    time.sleep(0.2)
    print("step", step, flush=True)
    if step == 10:
        solve(1e-6)
