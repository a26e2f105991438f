import multiprocessing
import os
import socket
import time


def load(batches):
    for batch in range(10):
        time.sleep(0.2)
        batches.put(batch)
    os._exit(9)


if __name__ == "__main__":
    store = socket.create_server(("127.0.0.1", 0))  # where other ranks would meet
    batches = multiprocessing.SimpleQueue()
    multiprocessing.Process(target=load, args=(batches,)).start()
    while True:
        while not batches._reader.poll(None):
            pass
        print("batch", batches.get(), flush=True)
