"""A client of gRPC-Web, by sonora: every status, and streams.

grpc_web_client.py PORT
"""
import sys

import grpc
import sonora.client

SERVICE = "/truth.v1.Calls/"


def same(value):
    return value


def refused(call, status):
    try:
        call()
    except grpc.RpcError as error:
        assert error.code() == status, error
    else:
        raise AssertionError("it is refused")


with sonora.client.insecure_web_channel(f"http://127.0.0.1:{sys.argv[1]}") as channel:
    unary = channel.unary_unary(SERVICE + "Unary", same, same)
    for _ in range(3):
        for status in grpc.StatusCode:
            if status == grpc.StatusCode.OK:
                assert unary(b"0") == b"x" * 1000
            else:
                refused(lambda: unary(str(status.value[0]).encode()), status)
    download = channel.unary_stream(SERVICE + "Download", same, same)
    for n in (0, 2, 100):
        assert len(list(download(str(n).encode()))) == n
    refused(lambda: list(download(b"5")), grpc.StatusCode.DATA_LOSS)
