"""Asks itself, by 127.0.0.1 and ::1: `talker.py N`. Prints what it asked and what it answered, then waits."""

import collections
import http.client
import http.server
import json
import socket
import sys
import threading
import time


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 64


class Server6(Server):
    address_family = socket.AF_INET6


asked, answered = collections.Counter(), collections.Counter()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.rfile.read(int(self.headers.get("content-length") or 0))
        status = 404 if "missing" in self.path else 200
        body = b"x" * 3000
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        # Before it is sent: whoever has all the answers finds all of them counted.
        answered[f"{self.command} {status}"] += 1
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *_):
        pass


def ask(connection, method, path, body=None):
    connection.request(method, path, body)
    response = connection.getresponse()
    response.read()
    asked[f"{method} {response.status}"] += 1


def main():
    n = int(sys.argv[1])
    for kind, host in [(Server, "127.0.0.1"), (Server6, "::1")]:
        server = kind((host, 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        kept = http.client.HTTPConnection(host, server.server_port)
        for i in range(n):
            ask(kept, "GET", "/missing" if i % 10 == 0 else "/there")
            ask(kept, "POST", "/there", b"y" * 5000)
            once = http.client.HTTPConnection(host, server.server_port)
            ask(once, "GET", "/there")
            once.close()
        kept.close()
    print(json.dumps({"asked": asked, "answered": answered}), flush=True)
    time.sleep(600)


main()
