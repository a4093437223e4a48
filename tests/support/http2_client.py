"""A client of HTTP/2 with prior knowledge, by httpx and h2, on one connection.

http2_client.py URL FOLDER: requests until FOLDER/pause is there, ten at a time, writes FOLDER/paused, and once FOLDER/go is there sends
a known number on the same connection, writes FOLDER/done, and waits for its end.
"""
import asyncio
import sys
from pathlib import Path

import httpx

KINDS = [("GET", "100.bin"), ("HEAD", "1000.bin"), ("GET", "10000.bin"), ("DELETE", "100.bin"), ("GET", "nowhere")]
ROUNDS = 100


async def main(url, folder):
    limits = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=None)
    async with httpx.AsyncClient(http1=False, http2=True, limits=limits, timeout=30, trust_env=False) as client:

        async def round():
            sent = [KINDS[n % len(KINDS)] for n in range(10)]
            await asyncio.gather(*(client.request(how, url + path) for how, path in sent))

        while not (folder / "pause").exists():
            await round()
        (folder / "paused").touch()
        while not (folder / "go").exists():
            await asyncio.sleep(0.01)
        for _ in range(ROUNDS):
            await round()
        (folder / "done").touch()
        await asyncio.sleep(60)


asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
