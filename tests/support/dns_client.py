"""Asks a resolver by dnspython: over UDP and TCP, and over one connection many questions at a time.

Arguments: the resolver, and `mixed`, or `held` and a file: then one question is answered over a connection, `asked` is
printed, and the rest follow over the same connection when the file is there. `phases` and a folder: over UDP and TCP, for names that
have the phase in them.
"""

import os
import socket
import sys
import time
from pathlib import Path

import dns.edns
import dns.message
import dns.query

from phases import Phases, run

resolver, mode = sys.argv[1:3]
QUESTIONS = [("www.example", "A"), ("www.example", "AAAA"), ("nowhere.example", "A"), ("big.example", "TXT")]


def query(name, kind, edns=0):
    return dns.message.make_query(name, kind, use_edns=edns, payload=1232)


def pipelined(connection, n):
    asked = {}
    for at in range(n):
        one = query(*QUESTIONS[at % len(QUESTIONS)])
        one.id = at + 1
        asked[one.id] = one
        dns.query.send_tcp(connection, one)
    while asked:
        answer, _ = dns.query.receive_tcp(connection, time.time() + 10)
        assert asked.pop(answer.id).is_response(answer)


def mixed():
    for edns in (-1, 0):
        for name, kind in QUESTIONS:
            one = query(name, kind, edns)
            dns.query.udp(one, resolver, timeout=5)
            dns.query.tcp(one, resolver, timeout=5)
    # A name with what is no text, and one of many cases.
    for name in (b"\x03a.b\x07example\x00", b"\x04\x00\xff A\x07example\x00", b"\x03WwW\x07exAMPle\x00"):
        wire, at, labels = name, 0, []
        while wire[at]:
            labels.append(wire[at + 1 : at + 1 + wire[at]])
            at += wire[at] + 1
        dns.query.udp(query(dns.name.Name(labels + [b""]), "A"), resolver, timeout=5)
    with socket.create_connection((resolver, 53)) as connection:
        pipelined(connection, 40)


def held(file):
    with socket.create_connection((resolver, 53)) as connection:
        pipelined(connection, 1)
        print("asked", flush=True)
        while not os.path.exists(file):
            time.sleep(0.01)
        pipelined(connection, 60)


def in_datagrams(phases):
    for n, phase in enumerate(phases):
        dns.query.udp(query(f"{n % 20}.{phase}.example", ("A", "AAAA")[n % 2]), resolver, timeout=5)


def in_connections(phases):
    """Ten at a time. dnsmasq closes one after a hundred."""
    connection = None
    for n, phase in enumerate(phases):
        if n % 8 == 0:
            if connection:
                connection.close()
            connection = socket.create_connection((resolver, 53))
        for at in range(10):
            one = query(f"tcp-{at}.{phase}.example", "A")
            one.id = at
            dns.query.send_tcp(connection, one)
        for _ in range(10):
            dns.query.receive_tcp(connection, time.time() + 10)


if mode == "mixed":
    mixed()
elif mode == "held":
    held(sys.argv[3])
else:
    phases = Phases(Path(sys.argv[3]), workers=4)
    run([lambda of=of: of(phases) for of in (in_datagrams, in_datagrams, in_connections, in_connections)])
    phases.stay()
print("done", flush=True)
