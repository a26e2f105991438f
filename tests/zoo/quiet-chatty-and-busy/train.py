import os
import time

begin = time.monotonic()
while time.monotonic() < begin + 25:
    if os.environ["ZENKEI_RANK"] == "0":
        print("waiting for the other one", flush=True)
        time.sleep(0.1)
