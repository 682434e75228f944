#!/usr/bin/env python3
"""Prints one counter of a running device: stats.py CONTROL_SOCKET NAME"""
import json
import socket
import sys

with socket.socket(socket.AF_UNIX) as connection:
    connection.settimeout(30)
    connection.connect(sys.argv[1])
    connection.sendall(b'{"id":1,"method":"stats","params":{}}\n')
    line = b""
    while not line.endswith(b"\n"):
        more = connection.recv(65536)
        if not more:
            sys.exit("the device closed the connection")
        line += more
answer = json.loads(line)
if "error" in answer:
    sys.exit(f"error: {answer['error']}")
print(int(answer["result"][sys.argv[2]]))
