"""A server of gRPC that writes a line for each call: its method and the status that it was answered with, `-` if it was given up.

grpc_server.py PORT ACCOUNT
"""
import sys
import threading
import time
from concurrent import futures

import grpc

SERVICE = "truth.v1.Calls"
STATUSES = {status.value[0]: status for status in grpc.StatusCode}
account, lock = open(sys.argv[2], "w", buffering=1), threading.Lock()


def tell(method, status="OK"):
    with lock:
        account.write(f"{SERVICE}/{method} {status}\n")


def unary(request, context, method="Unary"):
    code = int(request or b"0")
    tell(method, STATUSES[code].name)
    if code > 0:
        context.abort(STATUSES[code], "as it was asked for")
    return b"x" * 1000


def upload(requests, context):
    n = sum(len(request) for request in requests)
    tell("Upload")
    return str(n).encode()


def download(request, context):
    for _ in range(int(request)):
        yield b"y" * 20_000
    if int(request) % 2:
        tell("Download", "DATA_LOSS")
        context.abort(grpc.StatusCode.DATA_LOSS, "odd")
    tell("Download")


def chat(requests, context):
    yield from requests
    tell("Chat")


def wait(method, context):
    given_up = threading.Event()
    if not context.add_callback(given_up.set) or given_up.wait(20):
        tell(method, "-")
    return b""


HANDLERS = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "Upload": grpc.stream_unary_rpc_method_handler(upload),
    "Download": grpc.unary_stream_rpc_method_handler(download),
    "Chat": grpc.stream_stream_rpc_method_handler(chat),
    "Cancelled": grpc.unary_unary_rpc_method_handler(lambda _, context: wait("Cancelled", context)),
    "Late": grpc.unary_unary_rpc_method_handler(lambda _, context: wait("Late", context)),
}


class Others(grpc.GenericRpcHandler):
    """What has a point in its name is answered with the status that it asks for; another is not known."""

    def service(self, details):
        method = details.method.rpartition("/")[2]
        if "." not in method:
            tell(method, "UNIMPLEMENTED")
            return None
        return grpc.unary_unary_rpc_method_handler(lambda request, context: unary(request, context, method))


server = grpc.server(futures.ThreadPoolExecutor(max_workers=32))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, HANDLERS), Others()))
server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
server.start()
while True:
    time.sleep(60)
