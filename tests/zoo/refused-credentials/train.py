import http.server
import threading
import urllib.request


class Hub(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(401)


hub = http.server.HTTPServer(("127.0.0.1", 0), Hub)
threading.Thread(target=hub.serve_forever, daemon=True).start()
urllib.request.urlopen(f"http://127.0.0.1:{hub.server_port}/models/large")
