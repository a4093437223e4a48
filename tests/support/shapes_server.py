"""An HTTP/1.1 server whose answers have odd shapes. Logs one JSON object for each, with times of CLOCK_MONOTONIC:
`before` and `after` the first write of the final response, `last_before` and `last_after` its last one, `read` when
the request had been read.

/sse           events, one each 50 ms, then the end
/poll          an answer after 300 ms
/hints         100 and two 103 before the answer, 100 ms apart
/early         answers before the body is read, and ends after it
/soon          answers before the body is read
/hold          an answer when /go has been asked for
/users/...     200; everything else 404

What has no request line it answers with 400, and goes on.
"""

import json
import socketserver
import sys
import threading
import time

GO = threading.Event()
LOCK = threading.Lock()


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        while line := self.rfile.readline():
            self.writes = []
            if line.count(b" ") != 2:
                while self.rfile.readline().strip():
                    pass
                self.whole("400 Bad Request", b"what?")
                continue
            method, target, _ = line.decode().split(" ")
            headers = {}
            while (field := self.rfile.readline().strip()):
                name, _, value = field.decode().partition(":")
                headers[name.lower()] = value.strip()
            length = int(headers.get("content-length", 0))
            path = "/" + target.split("://")[-1].split("/", 1)[1] if "://" in target else target
            kind = path.split("?")[0].split("/")[1]
            if kind == "early":
                self.head("200 OK", 10)
                self.send(b"early")
                self.rfile.read(length)
                read = time.monotonic()
                self.send(b"later")
            elif kind == "soon":
                self.whole("413 Content Too Large", b"soon")
                self.rfile.read(length)
                read = time.monotonic()
            else:
                self.rfile.read(length)
                read = time.monotonic()
                answer = getattr(self, kind, self.none)
                answer()
            first, last = self.writes[0], self.writes[-1]
            with LOCK:
                entry = {"path": path, "read": read, "before": first[0], "after": first[1]}
                entry |= {"last_before": last[0], "last_after": last[1], "sent": sum(w[2] for w in self.writes)}
                print(json.dumps(entry), flush=True)

    def send(self, data):
        before = time.monotonic()
        self.request.sendall(data)
        self.writes.append((before, time.monotonic(), len(data)))

    def head(self, status, length, more=""):
        self.send(f"HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{more}\r\n".encode())

    def whole(self, status, body):
        self.send(f"HTTP/1.1 {status}\r\nX-Answer: yes\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)

    def none(self):
        self.whole("404 Not Found", b"none")

    def users(self):
        self.whole("200 OK", b"user")

    def healthz(self):
        self.whole("200 OK", b"ok")

    def poll(self):
        time.sleep(0.3)
        self.whole("200 OK", b"news")

    def hold(self):
        GO.wait(30)
        self.whole("200 OK", b"held")

    def go(self):
        GO.set()
        self.whole("200 OK", b"go")

    def hints(self):
        for interim in (b"100 Continue", b"103 Early Hints", b"103 Early Hints"):
            self.request.sendall(b"HTTP/1.1 " + interim + b"\r\nLink: </a>\r\n\r\n")
            time.sleep(0.1)
        self.whole("200 OK", b"hinted")

    def sse(self):
        self.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for i in range(6):
            time.sleep(0.05)
            event = f"data: {i}\n\n".encode()
            self.send(f"{len(event):x}\r\n".encode() + event + b"\r\n")
        self.send(b"0\r\n\r\n")


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64


def serve(port):
    Server(("127.0.0.1", port), Handler).serve_forever()


for port in sys.argv[2:]:
    threading.Thread(target=serve, args=(int(port),), daemon=True).start()
serve(int(sys.argv[1]))
