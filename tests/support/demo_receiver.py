"""A real OTLP receiver, for `cargo xtask demo`: gRPC, metrics and traces.

Keeps the last value of the server's request counts and counts spans, and writes both as JSON to the file that is its
only argument (whole or not at all), the port that it listens on included.
"""

import json
import os
import sys
import threading
from concurrent import futures

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as trace_grpc

DURATION = "http.server.request.duration"


class State:
    def __init__(self, path):
        self.path = path
        self.lock = threading.Lock()
        self.content = {"port": 0, "requests": {}, "spans": {}, "traces": []}

    def write(self):
        with open(self.path + ".new", "w", encoding="utf-8") as file:
            json.dump(self.content, file)
        os.rename(self.path + ".new", self.path)


def kind(attributes):
    """Method and status, or what there was in place of a status."""
    values = {a.key: a.value.string_value or str(a.value.int_value) for a in attributes}
    status = values.get("http.response.status_code") or values.get("error.type", "")
    return values.get("http.request.method", "") + " " + status


class Metrics(metrics_grpc.MetricsServiceServicer):
    def __init__(self, state):
        self.state = state

    def Export(self, request, context):
        counts = {}
        for resource in request.resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    if metric.name == DURATION:
                        for point in metric.histogram.data_points:
                            key = kind(point.attributes)
                            counts[key] = counts.get(key, 0) + point.count
        with self.state.lock:
            if counts:
                self.state.content["requests"] = counts
            self.state.write()
        return metrics.ExportMetricsServiceResponse()


class Traces(trace_grpc.TraceServiceServicer):
    def __init__(self, state):
        self.state = state

    def Export(self, request, context):
        with self.state.lock:
            content = self.state.content
            for resource in request.resource_spans:
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        key = kind(span.attributes)
                        content["spans"][key] = content["spans"].get(key, 0) + 1
                        if span.parent_span_id:
                            content["traces"].append(span.trace_id.hex())
            self.state.write()
        return trace.ExportTraceServiceResponse()


def main():
    state = State(sys.argv[1])
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
    metrics_grpc.add_MetricsServiceServicer_to_server(Metrics(state), server)
    trace_grpc.add_TraceServiceServicer_to_server(Traces(state), server)
    with state.lock:
        state.content["port"] = server.add_insecure_port("127.0.0.1:0")
        server.start()
        state.write()
    server.wait_for_termination()


main()
