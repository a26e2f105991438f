import os
import signal
import socket
import threading
import time

for step in range(10):
    time.sleep(0.2)
    print("step", step, flush=True)
server = socket.create_server(("127.0.0.1", 0))
if os.fork() == 0:
    # somebody who comes late
    signal.sigtimedwait([signal.SIGUSR1], 25.0)
    socket.create_connection(server.getsockname()).sendall(b"hello")
    os._exit(0)
thread = threading.Thread(target=lambda: print(server.accept()[0].recv(100), flush=True))
thread.start()
thread.join()
