import time

for step in range(10):
    time.sleep(0.2)
    print("step", step, flush=True)
pause_s = 0.5
for _ in range(6):
    time.sleep(pause_s)
    pause_s *= 2
print("the service has answered", flush=True)
