"""A client of HTTP/2 with prior knowledge, by httpx and h2.

http2_client.py held URL FOLDER: requests on one connection until FOLDER/pause is there, ten at a time, writes FOLDER/paused, and once
FOLDER/go is there sends a known number on the same connection, writes FOLDER/done, and waits for its end.
http2_client.py phases URL FOLDER: requests on three connections that say by the status that they ask for which phase they are of.
"""
import asyncio
import sys
from pathlib import Path

import httpx

from phases import Phases, run

KINDS = [("GET", "100.bin"), ("HEAD", "1000.bin"), ("GET", "10000.bin"), ("DELETE", "100.bin"), ("GET", "nowhere")]
ROUNDS = 100


# By phase: by what statuses the server is asked to answer, each time under a name of its own.
STATUSES = {"before": [200, 204], "first": [403, 500], "meanwhile": [200, 204], "between": [200, 204], "second": [410, 503], "third": [301, 400]}


def one_connection():
    limits = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=None)
    return httpx.AsyncClient(http1=False, http2=True, limits=limits, timeout=30, trust_env=False)


async def held(url, folder):
    async with one_connection() as client:

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


async def in_phases(url, phases):
    async with one_connection() as client:

        async def stream(number):
            for n, phase in enumerate(phases.all()):
                if phase == "pause":
                    await asyncio.sleep(0.002)
                    continue
                status = STATUSES[phase][n % 2]
                path = "1000.bin" if status == 200 else f"status/{status}"
                await client.get(f"{url}{path}?{number}.{n}")

        await asyncio.gather(*map(stream, range(10)))


url, folder = sys.argv[2], Path(sys.argv[3])
if sys.argv[1] == "held":
    asyncio.run(held(url, folder))
else:
    phases = Phases(folder, workers=30)
    run([lambda: asyncio.run(in_phases(url, phases))] * 3)
    phases.stay()
