import functools
import time

for step in range(10):
    time.sleep(0.2)
    print("step", step, flush=True)
until = time.monotonic() + 25
functools.reduce(lambda a, b: hash((a, b)), iter(lambda: time.monotonic() > until, True), 0)
print("reduced", flush=True)
