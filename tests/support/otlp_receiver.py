"""An OTLP receiver on gRPC's C core or Python's own HTTP server: neither shares code with the daemon's exporter.

    otlp_receiver.py [--http] [--answers ANSWER,…]

Prints its port, then each request as one line of JSON: {"signal": "metrics" | "traces", "at": seconds of some clock,
"headers": …, "request": …, "answer": …, "taken": items}. The answers of each signal are given in their order, the last one ever after:

    ok            all is taken
    partial:N     all but N items
    CODE[:S]      refused by this code of gRPC or HTTP; retry after S seconds
    hang          no answer at all
    cut           (HTTP) the connection breaks in the middle of the answer
    garbage       (HTTP) what is no protobuf; "noise": what is no HTTP
"""

import argparse
import collections
import concurrent.futures
import gzip
import http.server
import json
import socket
import sys
import threading
import time

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.json_format import MessageToDict
from google.rpc import error_details_pb2, status_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as trace_grpc

FOREVER = threading.Event()
LOCK = threading.Lock()
ANSWERS = {}


def write(value):
    with LOCK:
        print(json.dumps(value), flush=True)


def next_answer(signal):
    with LOCK:
        left = ANSWERS[signal]
        return left.popleft() if len(left) > 1 else left[0]


def spans(request):
    return sum(len(s.spans) for r in request.resource_spans for s in r.scope_spans)


def points(request):
    every = (m for r in request.resource_metrics for s in r.scope_metrics for m in s.metrics)
    return sum(len(getattr(m, m.WhichOneof("data")).data_points) for m in every)


def judged(signal, request, headers):
    """Notes a request, and says how to answer it: the answer's name, its argument, and its message."""
    answer, _, argument = next_answer(signal).partition(":")
    n = spans(request) if signal == "traces" else points(request)
    message = trace.ExportTraceServiceResponse() if signal == "traces" else metrics.ExportMetricsServiceResponse()
    taken = n if answer == "ok" else 0
    if answer == "partial":
        rejected = min(int(argument), n)
        taken = n - rejected
        field = "rejected_spans" if signal == "traces" else "rejected_data_points"
        setattr(message.partial_success, field, rejected)
        message.partial_success.error_message = "as the test wants it"
    write(
        {
            "signal": signal,
            "at": time.monotonic(),
            "headers": headers,
            "request": MessageToDict(request),
            "answer": answer,
            "taken": taken,
        }
    )
    return answer, argument, message


def by_grpc(signal, request, context):
    answer, argument, message = judged(signal, request, dict(context.invocation_metadata()))
    if answer == "hang":
        FOREVER.wait()
    if answer in ("ok", "partial"):
        return message
    code = grpc.StatusCode[answer]
    if argument:
        info = any_pb2.Any()
        info.Pack(error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=int(argument))))
        status = status_pb2.Status(code=code.value[0], message="later", details=[info])
        context.set_trailing_metadata([("grpc-status-details-bin", status.SerializeToString())])
    context.abort(code, "as the test wants it")


class Metrics(metrics_grpc.MetricsServiceServicer):
    def Export(self, request, context):
        return by_grpc("metrics", request, context)


class Traces(trace_grpc.TraceServiceServicer):
    def Export(self, request, context):
        return by_grpc("traces", request, context)


class Http(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        known = {
            "/v1/traces": ("traces", trace.ExportTraceServiceRequest),
            "/v1/metrics": ("metrics", metrics.ExportMetricsServiceRequest),
        }
        if self.path not in known or self.headers["content-type"] != "application/x-protobuf":
            return self.send_error(404)
        signal, message = known[self.path]
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer, argument, message = judged(signal, message.FromString(body), headers)
        if answer == "hang":
            FOREVER.wait()
        if answer == "noise":
            self.wfile.write(b"\0\1\2 this is not the protocol\r\n\r\n" * 4)
            self.close_connection = True
            return
        body = message.SerializeToString()
        if answer == "garbage":
            body = b"<html>please log in</html>"
        status = int(answer) if answer.isdigit() else 200
        self.send_response(status)
        self.send_header("content-type", "text/html" if answer == "garbage" else "application/x-protobuf")
        self.send_header("content-length", str(len(body) + (1000 if answer == "cut" else 0)))
        if argument and status != 200:
            self.send_header("retry-after", argument)
        self.end_headers()
        self.wfile.write(body)
        if answer == "cut":
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True

    def log_message(self, *_):
        pass


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--http", action="store_true")
    arguments.add_argument("--answers", default="ok")
    arguments = arguments.parse_args()
    for signal in ("metrics", "traces"):
        ANSWERS[signal] = collections.deque(arguments.answers.split(","))
    if arguments.http:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Http)
        server.daemon_threads = True
        write({"port": server.server_address[1]})
        server.serve_forever()
    # As many as may hang at a time.
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(max_workers=16))
    metrics_grpc.add_MetricsServiceServicer_to_server(Metrics(), server)
    trace_grpc.add_TraceServiceServicer_to_server(Traces(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    write({"port": port})
    server.wait_for_termination()


if __name__ == "__main__":
    sys.exit(main())
