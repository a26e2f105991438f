import socket

socket.create_connection(("data.invalid", 443), timeout=5)
