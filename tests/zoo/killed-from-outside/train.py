import os
import signal

print("loading", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
