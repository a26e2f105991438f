import os
import sys
import threading

threading.stack_size(64 << 20)
never = threading.Event()
try:
    for _ in range(1000):
        threading.Thread(target=never.wait, daemon=True).start()
except RuntimeError as error:
    print(f"RuntimeError: {error}", file=sys.stderr, flush=True)
    os._exit(1)
