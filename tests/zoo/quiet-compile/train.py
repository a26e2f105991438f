import subprocess
import sys

UNIT = "import time\nuntil = time.monotonic() + 1.5\nwhile time.monotonic() < until: hash('x')"

print("compiling", flush=True)
for _ in range(16):
    subprocess.run([sys.executable, "-c", UNIT], check=True)
print("compiled", flush=True)
