import subprocess
import time

for step in range(10):
    time.sleep(0.2)
    print("step", step, flush=True)
# nobody ever writes into its input
child = subprocess.Popen(["sort"], stdin=subprocess.PIPE)
child.wait()
