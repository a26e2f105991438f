import multiprocessing
import os
import signal
import time


def load(queue):
    for batch in range(12):
        time.sleep(0.2)
        queue.put(batch)
    os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does when memory runs out


if __name__ == "__main__":
    queue = multiprocessing.Queue()
    worker = multiprocessing.Process(target=load, args=(queue,))
    worker.start()
    for _ in range(20):
        print("batch", queue.get(), flush=True)
