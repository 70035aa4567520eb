"""Holds a dialogue until the client says bye. At a terminal, a person would type the answers."""

import socket

server = socket.socket()
server.bind(("127.0.0.1", 0))
server.listen(5)
print(server.getsockname()[1], flush=True)
while True:
    client, address = server.accept()
    answers = iter(["hello", "fine", "I see"])
    while True:
        data = client.recv(1024).decode("utf-8")
        if data == "bye" or not data:
            client.send("see you".encode("utf-8"))
            break
        client.send(next(answers).encode("utf-8"))
    client.close()
