"""Sends the time in the format that the client asks for."""

import socket
import time

server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
while True:
    data, address = server.recvfrom(1024)
    server.sendto(time.strftime(data.decode("utf-8")).encode("utf-8"), address)
