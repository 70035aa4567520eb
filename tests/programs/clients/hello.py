"""A first client: says hello as often as asked, and prints each answer. hello.py HOST PORT TIMES"""

import socket
import sys

host, port, times = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

sk = socket.socket()
sk.connect((host, port))
for _ in range(times):
    sk.send(b"hello")
    data = sk.recv(1024)
    print(data)
sk.close()
