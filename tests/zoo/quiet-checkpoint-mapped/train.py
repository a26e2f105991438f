import mmap
import time

for step in range(10):
    time.sleep(0.2)
    print("step", step, flush=True)
PAGES = 200
with open("weights", "wb+") as file:
    file.truncate(PAGES * mmap.PAGESIZE)
    with mmap.mmap(file.fileno(), 0) as pages:
        for at in range(0, PAGES * mmap.PAGESIZE, mmap.PAGESIZE):
            pages[at] = 1
            pages.flush(at, mmap.PAGESIZE)
            time.sleep(0.1)  # a slow disk
print("saved", flush=True)
