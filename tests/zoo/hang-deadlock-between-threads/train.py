import threading
import time

first, second = threading.Lock(), threading.Lock()


def take(one, other):
    with one:
        time.sleep(0.5)
        with other:
            print("never", flush=True)


for step in range(10):
    time.sleep(0.2)
    print("step", step, flush=True)
workers = [
    threading.Thread(target=take, args=pair, daemon=True)
    for pair in ((first, second), (second, first))
]
for worker in workers:
    worker.start()
while any(worker.is_alive() for worker in workers):
    workers[0].join(timeout=1.0)
