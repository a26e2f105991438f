"""Ranks that add up a number after each step, and whose helper threads say that all is well."""

import os
import socket
import struct
import threading
import time

RANK, WORLD = int(os.environ["ZENKEI_RANK"]), int(os.environ["ZENKEI_WORLD_SIZE"])
PLACE = (os.environ["ZENKEI_MASTER_ADDR"], int(os.environ["ZENKEI_MASTER_PORT"]))


def meet():
    """Rank 0 talks to all others; the others to rank 0."""
    if RANK == 0:
        with socket.create_server(PLACE) as server:
            return [server.accept()[0] for _ in range(WORLD - 1)]
    while True:
        try:
            return [socket.create_connection(PLACE)]
        except OSError:
            time.sleep(0.05)


def all_reduce(peers, value):
    if RANK == 0:
        total = value + sum(struct.unpack("d", peer.recv(8))[0] for peer in peers)
        for peer in peers:
            peer.sendall(struct.pack("d", total))
        return total
    peers[0].sendall(struct.pack("d", value))
    return struct.unpack("d", peers[0].recv(8))[0]


def beat():
    while True:
        time.sleep(1.0)
        print("rank", RANK, "lives", flush=True)


peers = meet()
threading.Thread(target=beat, daemon=True).start()
for step in range(20):
    time.sleep(0.1)
    if RANK == 2 and step == 10:
        continue  # the others count on it
    all_reduce(peers, float(step))
all_reduce(peers, 0.0)
if RANK != 0:
    # until everybody has finished
    peers[0].recv(1)
