import time

for _ in range(2):
    for step in range(100):
        time.sleep(0.03)
        if step % 10 == 0:
            print("step", step, flush=True)
    begin = time.monotonic()
    while time.monotonic() < begin + 15:
        sum(range(10_000))
