"""An HTTP/1.1 server that ends connections as the path says: /close and /reset before an answer, /body/close and
/body/reset in the middle of one. Anything else is never answered: the connection ends when the client ends it."""

import socket
import socketserver
import struct
import sys


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        _, target, _ = self.rfile.readline().decode().split(" ")
        while self.rfile.readline().strip():
            pass
        if target.startswith("/body/"):
            self.request.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789")
        if target.endswith("/reset"):
            self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif not target.endswith("/close"):
            self.rfile.read()


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    # As it comes, a FIN would be sent before the socket is closed.
    def shutdown_request(self, request):
        request.close()


Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
