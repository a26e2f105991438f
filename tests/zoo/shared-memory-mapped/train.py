import mmap
import os

fd = os.open("/dev/shm/batch", os.O_RDWR | os.O_CREAT)
os.ftruncate(fd, 1 << 20)
batch = mmap.mmap(fd, 1 << 20)
batch.write(bytes(1 << 20))
