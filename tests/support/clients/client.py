"""Asks N times for a URL, on a connection of its own each, and prints the status and whom it took for its peer: client.py URL N"""
import http.client
import sys
from urllib.parse import urlsplit

url, n = urlsplit(sys.argv[1]), int(sys.argv[2])
for _ in range(n):
    connection = http.client.HTTPConnection(url.hostname, url.port or 80)
    connection.request("GET", url.path)
    peer = connection.sock.getpeername()
    answer = connection.getresponse()
    answer.read()
    print(answer.status, peer[0], peer[1])
    connection.close()
