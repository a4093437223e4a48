"""Answers /STATUS/SIZE on a port, and logs what it answered, refusals too: `threads.py LOG PORT`.

Of bodies it knows those with a length only: a chunked one it takes for the next request."""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LOG = open(sys.argv[1], "a", buffering=1)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body leave together.
    wbufsize = -1

    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        *_, status, size = self.path.split("/")
        self.send_response(int(status))
        self.send_header("Content-Length", size)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(b"x" * int(size))

    do_GET = do_HEAD = do_POST = do_PUT = answer

    def log_request(self, code="-", size="-"):
        LOG.write(f"{self.command or 'UNREAD'} {int(code)}\n")

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Handler).serve_forever()
