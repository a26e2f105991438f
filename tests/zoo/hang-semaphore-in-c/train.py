import ctypes
import time

libc = ctypes.CDLL(None)
semaphore = ctypes.create_string_buffer(64)
libc.sem_init(semaphore, 0, 0)
for step in range(10):
    time.sleep(0.2)
    print("step", step, flush=True)
libc.sem_wait(semaphore)  # nobody posts it
