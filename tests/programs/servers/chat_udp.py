"""A chat room: `name : text` goes to all members in colours, and `name : q` leaves."""

import socket

server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
members = {}
while True:
    data, address = server.recvfrom(1024)
    name, text = data.decode("utf-8").strip().split(" : ", 1)
    members[address] = name
    for member in members:
        server.sendto(f"\033[1;33;42m{name} : {text}\033[0m".encode("utf-8"), member)
