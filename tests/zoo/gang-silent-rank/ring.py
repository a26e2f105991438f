"""A sum over all ranks through rank 0, as a collective would be: who is missing is waited for."""

import os
import socket
import time

RANK, WORLD = int(os.environ["ZENKEI_RANK"]), int(os.environ["ZENKEI_WORLD_SIZE"])
WHERE = (os.environ["ZENKEI_MASTER_ADDR"], int(os.environ["ZENKEI_MASTER_PORT"]))


def receive(link: socket.socket) -> int:
    data = b""
    while len(data) < 8:
        got = link.recv(8 - len(data))
        if not got:
            raise ConnectionError("Connection closed by peer")
        data += got
    return int.from_bytes(data, "big")


def connect() -> list[socket.socket]:
    """To all others on rank 0, to rank 0 elsewhere."""
    if RANK == 0:
        server = socket.create_server(WHERE, reuse_port=False)
        return [server.accept()[0] for _ in range(WORLD - 1)]
    while True:
        try:
            return [socket.create_connection(WHERE)]
        except ConnectionRefusedError:
            time.sleep(0.02)


def all_reduce(links: list[socket.socket], value: int) -> int:
    if RANK == 0:
        value += sum(receive(link) for link in links)
        for link in links:
            link.sendall(value.to_bytes(8, "big"))
        return value
    links[0].sendall(value.to_bytes(8, "big"))
    return receive(links[0])
