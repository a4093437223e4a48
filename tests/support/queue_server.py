"""A server that answers one connection at a time, so that requests of others wait in their sockets.

Usage: queue_server.py PORT FOLDER. Prints a JSON line an event, times by CLOCK_MONOTONIC. `/held` and the second half of
what is sent to `/upload` wait until a file `go` is in FOLDER, which the client makes once it has sent the rest, and then
0.2 s more: so long it certainly lay in the socket.
"""

import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

PORT, FOLDER = int(sys.argv[1]), sys.argv[2]


def say(path, what, **more):
    print(json.dumps({"path": path, what: time.monotonic(), **more}), flush=True)


def hold():
    while not os.path.exists(os.path.join(FOLDER, "go")):
        time.sleep(0.002)
    since = time.monotonic()
    time.sleep(0.2)
    return time.monotonic() - since


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        say(self.path, "began")
        held = hold() if self.path == "/held" else 0
        self.answer(held)

    def do_POST(self):
        size = int(self.headers["content-length"])
        self.rfile.read(size // 2)
        say(self.path, "half")
        held = hold()
        say(self.path, "began")
        self.rfile.read(size - size // 2)
        self.answer(held)

    def answer(self, held):
        say(self.path, "done", held=held)
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"ok")


HTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
