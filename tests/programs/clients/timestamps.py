"""Sends the time every few seconds, and prints each answer. timestamps.py HOST PORT SECONDS TIMES"""

import socket
import sys
import time

host, port, seconds, times = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])

sk = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
sk.connect((host, port))
for _ in range(times):
    sk.send(str(time.time()).encode("utf-8"))
    print(sk.recv(1024).decode("utf-8"))
    time.sleep(seconds)
sk.close()
