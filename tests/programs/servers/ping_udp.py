"""Answers ping with pong, and anything else not at all."""

import socket

server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
while True:
    data, address = server.recvfrom(1024)
    if data == b"ping":
        server.sendto(b"pong", address)
