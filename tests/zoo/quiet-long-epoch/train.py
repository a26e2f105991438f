import time

print("3 epochs", flush=True)
for epoch in range(2):
    until = time.monotonic() + 16
    total = 0
    while time.monotonic() < until:
        total += sum(i * i for i in range(1000))
    print("epoch", epoch, total > 0, flush=True)
