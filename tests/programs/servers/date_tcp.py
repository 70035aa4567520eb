"""Reads a timestamp, and sends it back as a date."""

import socket
import time

server = socket.socket()
server.bind(("127.0.0.1", 0))
server.listen(5)
print(server.getsockname()[1], flush=True)
while True:
    client, address = server.accept()
    while True:
        data = client.recv(1024).decode("utf-8")
        if not data:
            break
        client.send(time.strftime("%Y/%m/%d %H:%M:%S", time.gmtime(float(data))).encode("utf-8"))
    client.close()
