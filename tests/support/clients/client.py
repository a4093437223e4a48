"""Asks for each URL on a connection of its own, and prints it, the status, and whom it took for its peer: client.py URL..."""
import http.client
import sys
from urllib.parse import urlsplit

for url in sys.argv[1:]:
    to = urlsplit(url)
    connection = http.client.HTTPConnection(to.hostname, to.port or 80, timeout=20)
    connection.request("GET", f"{to.path}?{to.query}")
    peer = connection.sock.getpeername()
    answer = connection.getresponse()
    answer.read()
    print(url, answer.status, peer[0], peer[1])
    connection.close()
