"""A chat in colour: receives once for each message that is typed, until q. chat_udp.py HOST PORT NAME"""

import socket
import sys

server, name = (sys.argv[1], int(sys.argv[2])), sys.argv[3]

sk = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
while True:
    text = input()
    message = f"\033[1;33;42m{name} : {text}\033[0m"
    sk.sendto(message.encode("utf-8"), server)
    print(sk.recv(1024).decode("utf-8"), flush=True)
    if text == "q":
        break
sk.close()
