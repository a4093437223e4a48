"""A client whose packets have an IPv6 destination-options header (RFC 8200, 4.6): `ipv6_options.py PORT PATH N`.

Prints how many of its packets had one on the loopback device, and the statuses that it was answered.
"""

import collections
import http.client
import json
import socket
import sys

NEXT_HEADER = 14 + 6
DESTINATION_OPTIONS = 60


class Connection(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
        # Next header and length are the kernel's to write; then one PadN option.
        self.sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_DSTOPTS, bytes([0, 0, 1, 4, 0, 0, 0, 0]))
        self.sock.connect((self.host, self.port))


def main():
    port, path, n = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    # What the device carries, each packet once as it comes in.
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x86DD))
    wire.bind(("lo", 0))
    wire.setblocking(False)
    statuses, extended = collections.Counter(), 0
    for _ in range(n):
        connection = Connection("::1", port)
        for method, body in [("GET", None), ("POST", b"b" * 3000), ("GET", None)]:
            connection.request(method, path, body)
            response = connection.getresponse()
            response.read()
            statuses[f"{method} {response.status}"] += 1
        connection.close()
        while True:
            try:
                packet, address = wire.recvfrom(65536)
            except BlockingIOError:
                break
            is_incoming = address[2] != socket.PACKET_OUTGOING
            extended += is_incoming and packet[NEXT_HEADER] == DESTINATION_OPTIONS
    print(json.dumps({"extended": extended, "statuses": statuses}))


main()
