import http.server
import threading
import urllib.request

server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
for _ in range(8):
    print("loading", flush=True)
print("serving", flush=True)
server.timeout = None
# nobody comes for a long time
alarm = threading.Timer(
    25.0, lambda: urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}")
)
alarm.daemon = True
alarm.start()
server.handle_request()
print("served", flush=True)
