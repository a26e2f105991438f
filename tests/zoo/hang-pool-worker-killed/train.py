import multiprocessing
import os
import time


def work(number):
    time.sleep(0.2)
    if number == 14:
        os._exit(9)
    return number


if __name__ == "__main__":
    with multiprocessing.Pool(2) as pool:
        for result in pool.imap(work, range(40)):
            print("result", result, flush=True)
