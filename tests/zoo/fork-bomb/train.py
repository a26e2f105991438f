import os
import signal

for _ in range(60):
    if os.fork() == 0:
        # they are not told, they do not listen, and they hold the pipes open
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            signal.pause()
raise RuntimeError("60 workers were too many")
