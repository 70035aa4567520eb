"""ping, and pong has to come back. ping_tcp.py HOST PORT"""

import socket
import sys

s = socket.create_connection((sys.argv[1], int(sys.argv[2])))
for _ in range(3):
    s.send(b"ping")
    if s.recv(1024) == b"pong":
        print("ok")
s.close()
