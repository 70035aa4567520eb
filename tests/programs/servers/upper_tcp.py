"""Sends text back in upper case, until an asterisk."""

import socket

server = socket.socket()
server.bind(("127.0.0.1", 0))
server.listen(5)
print(server.getsockname()[1], flush=True)
while True:
    client, address = server.accept()
    while True:
        text = client.recv(1024).decode("utf-8")
        if text == "*" or not text:
            break
        client.sendall(text.upper().encode("utf-8"))
    client.close()
