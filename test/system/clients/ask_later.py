"""Connects to the service, says so, and sends a request that it has prepared when its standard input ends.

ask_later.py SOCKET DIRECTORY REQUEST: the request, in hexadecimal, names the directory as descriptor 9. Prints the reply in
hexadecimal.
"""
import os
import socket
import sys

address, directory, request = sys.argv[1:]
os.dup2(os.open(directory, os.O_RDONLY | os.O_DIRECTORY), 9)
connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
connection.connect(address)
print('connected', flush=True)
sys.stdin.read()
connection.send(bytes.fromhex(request))
print(connection.recv(4096).hex())
