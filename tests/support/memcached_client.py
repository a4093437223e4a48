"""Clients of memcached: pymemcache in words, python-binary-memcached in the binary protocol.

memcached_client.py all PORT
memcached_client.py held PORT FOLDER: asks once by each and writes FOLDER/asked; once FOLDER/go is there asks on.
memcached_client.py phases PORT FOLDER: both, by commands that say by their names which phase they are of.
"""
import sys
import time
from pathlib import Path

import bmemcached
from pymemcache.client.base import Client
from pymemcache.exceptions import MemcacheClientError

from phases import Phases, run


def in_words(port):
    client = Client(("127.0.0.1", port), default_noreply=False)
    for n in range(200):
        client.set(f"key:{n}", b"v" * n)
        assert client.get(f"key:{n}") == b"v" * n
    client.set("large", b"x" * 500_000)
    assert len(client.get("large")) == 500_000
    assert client.get("nowhere") is None
    assert len(client.get_many([f"key:{n}" for n in range(190, 210)])) == 10
    for n in range(50):
        client.set("silent", b"s", noreply=True)
    client.add("key:1", b"there")
    client.replace("nowhere", b"not there")
    client.append("key:1", b"more")
    client.prepend("key:1", b"more")
    _, cas = client.gets("key:1")
    assert client.cas("key:1", b"new", cas)
    assert client.cas("key:1", b"newer", cas) is False
    client.set("n", b"1")
    client.incr("n", 5)
    client.decr("n", 2)
    client.touch("n", 100)
    client.delete("n")
    client.delete("n")
    try:
        client.incr("large", 1)
    except MemcacheClientError:
        pass
    else:
        raise AssertionError("it is refused")
    client.version()
    client.close()


def binary(port):
    client = bmemcached.Client((f"127.0.0.1:{port}",))
    for n in range(200):
        client.set(f"bin:{n}", "w" * (n + 1))
        assert client.get(f"bin:{n}") == "w" * (n + 1)
    assert client.get("nowhere") is None
    client.add("bin:1", "there")
    client.replace("nowhere", "not there")
    client.incr("m", 1, default=1)
    client.decr("m", 1)
    client.delete("bin:2")
    client.delete("bin:2")
    client.disconnect_all()


def held(port, folder):
    words = Client(("127.0.0.1", port), default_noreply=False)
    packets = bmemcached.Client((f"127.0.0.1:{port}",))
    words.set("n", b"1")
    packets.set("bin", "w")
    (folder / "asked").touch()
    while not (folder / "go").exists():
        time.sleep(0.01)
    for n in range(100):
        words.set(f"key:{n}", b"v" * n)
        assert words.get(f"key:{n}") == b"v" * n
        assert words.get("nowhere") is None
        packets.set(f"bin:{n}", "w" * (n + 1))
        assert packets.get(f"bin:{n}") == "w" * (n + 1)
        assert packets.get("nowhere") is None
    words.set("large", b"x" * 500_000)
    assert len(words.get("large")) == 500_000
    words.touch("n", 100)
    words.decr("n", 1)
    words.delete("n")
    packets.delete("bin")
    packets.delete("bin")
    words.close()
    packets.disconnect_all()


def in_phases(client, phases, commands):
    for n, phase in enumerate(phases):
        for command in commands.get(phase, commands["others"]):
            command(client, n)


port = int(sys.argv[2])
if sys.argv[1] == "all":
    in_words(port)
    binary(port)
elif sys.argv[1] == "held":
    held(port, Path(sys.argv[3]))
else:
    # By phase: commands that no other phase has, and that the server counts by themselves; of some there is no key.
    words = {
        "first": [lambda c, n: c.touch(("key", "nowhere")[n % 2], 100), lambda c, n: c.delete("nowhere")],
        "second": [lambda c, n: c.incr(("n", "nowhere")[n % 2], 1), lambda c, n: c.cas("key", b"new", b"1")],
        "third": [lambda c, n: c.decr(("n", "nowhere")[n % 2], 1), lambda c, n: c.flush_all(1000)],
        "others": [lambda c, n: c.set("key", b"v" * (n % 100)), lambda c, n: c.get("key"), lambda c, n: c.get_many(["a", "key"])],
    }
    packets = {
        "first": [lambda c, n: c.delete("nowhere")],
        "second": [lambda c, n: c.incr("m", 1)],
        "third": [lambda c, n: c.decr("m", 1)],
        "others": [lambda c, n: c.set("bin", "w" * (n % 100 + 1)), lambda c, n: c.get("bin")],
    }
    of_words = [Client(("127.0.0.1", port), default_noreply=False) for _ in range(3)]
    of_packets = [bmemcached.Client((f"127.0.0.1:{port}",)) for _ in range(2)]
    of_words[0].set("n", b"1000000000")
    of_packets[0].incr("m", 1, default=1_000_000_000)
    phases = Phases(Path(sys.argv[3]), workers=5)
    clients = [(one, phases, words) for one in of_words] + [(one, phases, packets) for one in of_packets]
    run([lambda of=of: in_phases(*of) for of in clients])
    phases.stay()
