"""A chat in which a thread prints what comes, until q. chat_udp_thread.py HOST PORT NAME"""

import socket
import sys
import threading

server, name = (sys.argv[1], int(sys.argv[2])), sys.argv[3]
sk = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def receive() -> None:
    while True:
        print(sk.recv(1024).decode(), flush=True)


sk.sendto(f"{name} : hello".encode(), server)
threading.Thread(target=receive, daemon=True).start()
while True:
    text = input()
    sk.sendto(f"{name} : {text}".encode(), server)
    if text == "q":
        break
