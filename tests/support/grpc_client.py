"""A client of gRPC: every status, every kind of stream, calls that end before they are answered.

grpc_client.py all PORT
grpc_client.py load PORT FOLDER: calls until FOLDER/pause is there, writes FOLDER/paused, and once FOLDER/go is there does a known number
of calls on the same connection, writes FOLDER/done, and waits for its end.
grpc_client.py phases PORT FOLDER: calls on three connections, by methods that have the phase in their names.
grpc_client.py warm PORT FOLDER: a call that is answered with OK, writes FOLDER/paused, and once FOLDER/go is there all that `all`
does on the same connection, writes FOLDER/done, and waits for its end.
"""
import sys
import time
from pathlib import Path

import grpc

from phases import Phases, run

SERVICE = "/truth.v1.Calls/"


def refused(call, status):
    try:
        call()
    except grpc.RpcError as error:
        assert error.code() == status, error
    else:
        raise AssertionError("it is refused")


def everything(channel):
    unary = channel.unary_unary(SERVICE + "Unary")
    for rounds in range(3):
        for status in grpc.StatusCode:
            code = status.value[0]
            if code == 0:
                assert unary(b"0") == b"x" * 1000
            else:
                refused(lambda: unary(str(code).encode(), metadata=[("round", str(rounds))]), status)
    for _ in range(20):
        for call in [unary.future(b"0") for _ in range(100)]:
            call.result()
    for n in (0, 1, 50):
        sent = channel.stream_unary(SERVICE + "Upload")(b"u" * 10_000 for _ in range(n))
        assert sent == str(n * 10_000).encode()
    download = channel.unary_stream(SERVICE + "Download")
    for n in (0, 2, 100):
        assert len(list(download(str(n).encode()))) == n
    refused(lambda: list(download(b"5")), grpc.StatusCode.DATA_LOSS)
    chat = channel.stream_stream(SERVICE + "Chat")
    assert len(list(chat(b"c" * n for n in range(200)))) == 200
    refused(lambda: channel.unary_unary(SERVICE + "Unheard")(b""), grpc.StatusCode.UNIMPLEMENTED)
    for _ in range(3):
        call = channel.unary_unary(SERVICE + "Cancelled").future(b"")
        time.sleep(0.2)
        call.cancel()
        late = channel.unary_unary(SERVICE + "Late")
        refused(lambda: late(b"", timeout=0.2), grpc.StatusCode.DEADLINE_EXCEEDED)


def load(channel, folder):
    unary, chat = channel.unary_unary(SERVICE + "Unary"), channel.stream_stream(SERVICE + "Chat")

    def round():
        calls = [unary.future(str(n % 3).encode()) for n in range(20)]
        for call in calls:
            call.exception()
        list(chat(b"c" for _ in range(10)))

    while not (folder / "pause").exists():
        round()
    (folder / "paused").touch()
    while not (folder / "go").exists():
        time.sleep(0.01)
    for _ in range(50):
        round()
    (folder / "done").touch()
    time.sleep(60)


def warm(channel, folder):
    channel.unary_unary(SERVICE + "Unary")(b"0")
    (folder / "paused").touch()
    while not (folder / "go").exists():
        time.sleep(0.01)
    everything(channel)
    (folder / "done").touch()
    time.sleep(60)


# Rounds of a phase: more of them are not remembered.
ROUNDS = 5


def in_phases(channel, phases):
    last, n = None, 0
    for at, phase in enumerate(phases):
        last, n = phase, n + 1 if phase == last else 1
        if n > ROUNDS:
            time.sleep(0.01)
            continue
        # A name that no header table has yet.
        unary = channel.unary_unary(f"{SERVICE}Unary.{phase}.{at}")
        for call in [unary.future(str(code % 3).encode()) for code in range(20)]:
            call.exception()


def channel():
    # One connection for each, though they are to the same place.
    return grpc.insecure_channel(f"127.0.0.1:{sys.argv[2]}", options=[("grpc.use_local_subchannel_pool", 1)])


if sys.argv[1] == "all":
    with channel() as one:
        everything(one)
elif sys.argv[1] in ("load", "warm"):
    with channel() as one:
        {"load": load, "warm": warm}[sys.argv[1]](one, Path(sys.argv[3]))
else:
    phases = Phases(Path(sys.argv[3]), workers=3, rounds=ROUNDS)
    channels = [channel() for _ in range(3)]
    run([lambda one=one: in_phases(one, phases) for one in channels])
    phases.stay()
