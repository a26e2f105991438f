import subprocess
import sys
import time

# it goes on in the background, and keeps its end of the pipe
DAEMON = """
import os, signal
if os.fork() == 0:
    os.setsid()
    signal.sigwait([signal.SIGUSR1])
"""

for step in range(10):
    time.sleep(0.2)
    print("step", step, flush=True)
subprocess.run([sys.executable, "-c", DAEMON], stdout=subprocess.PIPE, check=True)
