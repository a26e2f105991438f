import time

print("until tomorrow", flush=True)
time.sleep(86_400)
