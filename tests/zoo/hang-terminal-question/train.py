import os
import subprocess
import sys
import time

ASKS = "input('overwrite? ')"

for step in range(10):
    time.sleep(0.2)
    print("step", step, flush=True)
ours, theirs = os.openpty()
subprocess.run([sys.executable, "-c", ASKS], stdin=theirs, stdout=theirs, check=True)
