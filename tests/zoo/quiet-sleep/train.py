import time

for step in range(10):
    time.sleep(0.1)
    print("step", step, flush=True)
print("until the queue opens", flush=True)
time.sleep(30)
print("go", flush=True)
