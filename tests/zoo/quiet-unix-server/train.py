import os
import signal
import socket
import time

for step in range(10):
    time.sleep(0.2)
    print("step", step, flush=True)
server = socket.socket(socket.AF_UNIX)
server.bind("here")
server.listen()
if os.fork() == 0:
    # somebody who comes late
    signal.sigtimedwait([signal.SIGUSR1], 25.0)
    client = socket.socket(socket.AF_UNIX)
    client.connect("here")
    client.sendall(b"hello")
    os._exit(0)
print(server.accept()[0].recv(100), flush=True)
