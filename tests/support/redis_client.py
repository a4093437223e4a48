"""A client of Redis, by redis-py: every kind of conversation, or a load on connections that stay open.

redis_client.py all PORT
redis_client.py load PORT FOLDER: goes on until FOLDER/pause is there, writes FOLDER/paused, and once FOLDER/go is there does a
known number of rounds on the same connections, writes FOLDER/done, and waits for its end.
redis_client.py phases PORT FOLDER: pipelines on four connections, of commands that say by their names which phase they are of.
"""
import sys
import time
from pathlib import Path

import redis

from phases import Phases, run


def everything(port, protocol):
    client = redis.Redis(port=port, protocol=protocol, db=protocol)
    client.flushdb()
    for n in range(50):
        client.set(f"key:{n}", "v" * n)
        client.get(f"key:{n}")
    client.set("large", b"x" * 1_000_000)
    assert len(client.get("large")) == 1_000_000
    client.hset("hash", mapping={"a": 1, "b": 2})
    client.hgetall("hash")
    client.zadd("zset", {"a": 1.5, "b": 2})
    client.zrange("zset", 0, -1, withscores=True)
    client.zscore("zset", "a")
    client.sadd("set", "a", "b")
    client.smembers("set")
    client.rpush("list", *range(100))
    client.lrange("list", 0, -1)
    client.client_list()
    client.config_get("maxmemory")
    client.blpop("list", timeout=1)
    client.eval("return {1, 2, {3, 'four'}}", 0)
    for failing in (lambda: client.incr("list"), lambda: client.lpush("key:1", 1), lambda: client.execute_command("SET", "a")):
        try:
            failing()
        except redis.ResponseError:
            continue
        raise AssertionError("it is refused")
    with client.pipeline(transaction=False) as pipeline:
        for n in range(1000):
            pipeline.incr("counter")
            pipeline.get("counter")
        pipeline.execute()
    with client.pipeline(transaction=True) as pipeline:
        pipeline.watch("counter")
        pipeline.multi()
        pipeline.set("counter", 1)
        pipeline.incr("counter")
        pipeline.lrange("list", 0, -1)
        pipeline.execute()
    with client.pubsub() as subscribed:
        subscribed.subscribe("one", "two")
        subscribed.psubscribe("th*")
        for _ in range(3):
            subscribed.get_message(timeout=5)
        for n in range(10):
            client.publish(("one", "three")[n % 2], f"message {n}")
        told = 0
        while told < 10:
            told += (subscribed.get_message(timeout=5) or {}).get("type", "").endswith("message")
        subscribed.unsubscribe()
        for _ in range(2):
            subscribed.get_message(timeout=5)
    client.close()


def load(port, folder):
    clients = [redis.Redis(port=port, protocol=protocol) for protocol in (2, 2, 3, 3)]

    def round():
        for depth, client in zip((1, 16, 100, 1000), clients):
            with client.pipeline(transaction=False) as pipeline:
                for n in range(depth):
                    pipeline.set(f"key:{n}", n)
                    pipeline.get(f"key:{n}")
                    pipeline.incr("n")
                    pipeline.lpush("list", n)
                    pipeline.ltrim("list", 0, 10)
                pipeline.execute()

    while not (folder / "pause").exists():
        round()
    (folder / "paused").touch()
    while not (folder / "go").exists():
        time.sleep(0.01)
    for _ in range(20):
        round()
    (folder / "done").touch()
    time.sleep(60)


# By phase: commands that no other phase has, the last of which is refused, as the key has a text.
COMMANDS = {
    "first": [("HSET", "hash", "a", "1"), ("HGET", "hash", "a"), ("HKEYS", "hash"), ("HINCRBY", "text", "a", "1")],
    "second": [("SADD", "set", "a", "b"), ("SMEMBERS", "set"), ("SISMEMBER", "set", "a"), ("SPOP", "text")],
    "third": [("ZADD", "zset", "1", "a"), ("ZRANGE", "zset", "0", "-1"), ("ZSCORE", "zset", "a"), ("ZREM", "text", "a")],
}
OTHERS = [("SET", "n", "1"), ("GET", "n"), ("INCR", "n"), ("LPUSH", "list", "a" * 100), ("LTRIM", "list", "0", "10")]


def in_phases(client, depth, phases):
    for phase in phases:
        with client.pipeline(transaction=False) as pipeline:
            for _ in range(depth):
                for command in COMMANDS.get(phase, OTHERS):
                    pipeline.execute_command(*command)
            pipeline.execute(raise_on_error=False)


port = int(sys.argv[2])
if sys.argv[1] == "all":
    for protocol in (2, 3):
        everything(port, protocol)
elif sys.argv[1] == "load":
    load(port, Path(sys.argv[3]))
else:
    phases = Phases(Path(sys.argv[3]), workers=4)
    clients = [redis.Redis(port=port, protocol=protocol, single_connection_client=True) for protocol in (2, 2, 3, 3)]
    clients[0].set("text", "a")
    run([lambda at=at: in_phases(*at, phases) for at in zip(clients, (1, 8, 32, 100))])
    phases.stay()
