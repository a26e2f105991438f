import concurrent.futures
import time


def ask(number):
    # a service that answers late: no processor time here
    until = time.monotonic() + 25
    while time.monotonic() < until:
        time.sleep(1.0)
    return number


if __name__ == "__main__":
    for step in range(10):
        time.sleep(0.2)
        print("step", step, flush=True)
    with concurrent.futures.ProcessPoolExecutor(2) as pool:
        print(list(pool.map(ask, range(2))), flush=True)
