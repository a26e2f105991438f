import multiprocessing
import os
import queue
import time


def load(batches):
    for batch in range(10):
        time.sleep(0.2)
        batches.put(batch)
    os._exit(9)


if __name__ == "__main__":
    batches = multiprocessing.Queue()
    multiprocessing.Process(target=load, args=(batches,)).start()
    while True:
        try:
            print("batch", batches.get(timeout=5.0), flush=True)
        except queue.Empty:
            continue  # it may only be slow
