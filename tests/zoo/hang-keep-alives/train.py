import os
import socket
import time

RANK = int(os.environ["ZENKEI_RANK"])
PLACE = (os.environ["ZENKEI_MASTER_ADDR"], int(os.environ["ZENKEI_MASTER_PORT"]))

if RANK == 0:
    with socket.create_server(PLACE) as server:
        peer = server.accept()[0]
else:
    while True:
        try:
            peer = socket.create_connection(PLACE)
            break
        except OSError:
            time.sleep(0.05)
for step in range(10):
    time.sleep(0.2)
    print("step", step, flush=True)
while True:
    time.sleep(0.1)
    peer.sendall(b"are you ready? not yet")
    peer.recv(100)
