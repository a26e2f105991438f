import os
import subprocess
import sys
import time

RANK = int(os.environ["ZENKEI_RANK"])
EVALUATE = "import time\nfor _ in range(200): sum(range(300_000)); time.sleep(0.09)"

for step in range(10):
    time.sleep(0.2)
    print("step", step, flush=True)
if RANK == 0:
    subprocess.run([sys.executable, "-c", EVALUATE], check=True)
    open("evaluated", "w").close()
while not os.path.exists("evaluated"):
    time.sleep(0.3)
