import subprocess
import sys
import time

TALKS = "import sys\nfor i in range(100_000): print('line', i)\nsys.exit(0)"

for step in range(8):
    time.sleep(0.2)
    print("step", step, flush=True)
# its output goes into a pipe that nobody empties
child = subprocess.Popen([sys.executable, "-c", TALKS], stdout=subprocess.PIPE)
child.wait()
