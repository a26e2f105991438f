import http.server
import threading
import time

# metrics for whoever asks: that is not what the job is for
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
threading.Thread(target=server.serve_forever, daemon=True).start()
for step in range(10):
    time.sleep(0.2)
    print("step", step, flush=True)
lock = threading.Lock()
lock.acquire()
lock.acquire()
