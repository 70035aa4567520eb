"""Sends what is typed and prints the answer, until either side says bye or q. dialogue.py HOST PORT"""

import socket
import sys

sk = socket.socket()
sk.connect((sys.argv[1], int(sys.argv[2])))
while True:
    message = input("> ")
    sk.send(message.encode())
    answer = sk.recv(1024).decode()
    print(answer)
    if message in ("bye", "q") or answer in ("bye", "q"):
        break
sk.close()
