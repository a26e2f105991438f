import os

print(sum(os.open("/dev/null", os.O_RDONLY) for _ in range(1000)))
