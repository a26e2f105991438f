import http.server
import threading
import time
import urllib.request


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        print("served", self.path, flush=True)
        self.send_response(200)
        self.end_headers()


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
done = threading.Lock()
done.acquire()


def visit():
    for number in range(25):
        time.sleep(1.0)
        urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/{number}").close()
    done.release()


threading.Thread(target=visit, daemon=True).start()
done.acquire()  # nobody can tell this from a deadlock but by what is printed
