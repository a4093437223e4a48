"""A server of gRPC-Web, by sonora and uvicorn, that writes a line for each call: its method and the status that it was answered with.

grpc_web_server.py PORT ACCOUNT
"""
import sys
import threading

import grpc
import uvicorn
from sonora.wsgi import grpcWSGI
from uvicorn.middleware.wsgi import WSGIMiddleware

SERVICE = "truth.v1.Calls"
STATUSES = {status.value[0]: status for status in grpc.StatusCode}
account, lock = open(sys.argv[2], "w", buffering=1), threading.Lock()


def tell(method, status):
    with lock:
        account.write(f"{SERVICE}/{method} {status.name}\n")


def unary(request, context):
    status = STATUSES[int(request or b"0")]
    tell("Unary", status)
    if status != grpc.StatusCode.OK:
        context.abort(status, "as it was asked for")
    return b"x" * 1000


def download(request, context):
    n = int(request)
    status = grpc.StatusCode.DATA_LOSS if n % 2 else grpc.StatusCode.OK
    tell("Download", status)
    for _ in range(n):
        yield b"y" * 20_000
    if n % 2:
        context.abort(status, "odd")


HANDLERS = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary, lambda b: b, lambda b: b),
    "Download": grpc.unary_stream_rpc_method_handler(download, lambda b: b, lambda b: b),
}
app = grpcWSGI(None)
app.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, HANDLERS),))
uvicorn.run(WSGIMiddleware(app), host="127.0.0.1", port=int(sys.argv[1]), log_level="error")
