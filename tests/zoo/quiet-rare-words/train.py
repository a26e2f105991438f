import threading
import time

nothing = threading.Event()
for round_number in range(3):
    nothing.wait(9.0)  # a time limit of its own, longer than any silence allowed
    print("round", round_number, time.time(), flush=True)
