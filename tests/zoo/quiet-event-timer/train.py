import ctypes
import select
import struct
import time

for step in range(10):
    time.sleep(0.2)
    print("step", step, flush=True)
# as event loops in C++ wait: no time limit of the call, but a timer among its files
libc = ctypes.CDLL(None)
timer = libc.timerfd_create(time.CLOCK_MONOTONIC, 0)
libc.timerfd_settime(timer, 0, struct.pack("qqqq", 0, 0, 25, 0), None)
loop = select.epoll()
loop.register(timer, select.EPOLLIN)
loop.poll()
print("the time has come", flush=True)
