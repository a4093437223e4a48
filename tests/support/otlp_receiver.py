"""An OTLP/gRPC receiver on gRPC's C core, which shares no code with the daemon's exporter.

Prints its port, then each request as one line of JSON: {"signal": "metrics" | "traces", "headers": …, "request": …}.
"""

import concurrent.futures
import json
import sys

import grpc
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as trace_grpc


def write(value):
    print(json.dumps(value), flush=True)


class Metrics(metrics_grpc.MetricsServiceServicer):
    def Export(self, request, context):
        return taken("metrics", request, context, metrics.ExportMetricsServiceResponse())


class Traces(trace_grpc.TraceServiceServicer):
    def Export(self, request, context):
        return taken("traces", request, context, trace.ExportTraceServiceResponse())


def taken(signal, request, context, answer):
    headers = dict(context.invocation_metadata())
    write({"signal": signal, "headers": headers, "request": MessageToDict(request)})
    return answer


def main():
    # One worker: lines come whole, and in the order of the requests.
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(max_workers=1))
    metrics_grpc.add_MetricsServiceServicer_to_server(Metrics(), server)
    trace_grpc.add_TraceServiceServicer_to_server(Traces(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    write({"port": port})
    server.wait_for_termination()


if __name__ == "__main__":
    sys.exit(main())
