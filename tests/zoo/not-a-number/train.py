import math
import sys

loss = 1e308
for _step in range(5):
    loss = loss * 10 - loss * 10
    if not math.isfinite(loss):
        print(f"Loss is {loss}, stopping training")
        sys.exit(1)
