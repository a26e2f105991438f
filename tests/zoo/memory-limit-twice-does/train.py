import time

data = b"x" * (90 << 20)
time.sleep(3)  # where no control group limits it, memory is looked at once a second
print(len(data))
