"""A server that traces itself by OpenTelemetry's SDK and exports by OTLP/HTTP: PORT ENDPOINT.

Each span is exported at its end, before the next request is taken.
"""

import http.server
import os
import sys

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import SpanKind

os.environ["NO_PROXY"] = "*"
provider = TracerProvider(resource=Resource({"service.name": "instrumented"}))
provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(endpoint=sys.argv[2] + "/v1/traces")))
tracer = provider.get_tracer("app")


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with tracer.start_as_current_span("GET", kind=SpanKind.SERVER):
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")


http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
