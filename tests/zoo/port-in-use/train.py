import socket

taken = socket.create_server(("127.0.0.1", 0))
socket.create_server(taken.getsockname())
