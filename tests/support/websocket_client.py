"""WebSocket by the `websockets` package. URL, then what to send: `text N`, `binary N`, or else the text itself.

Each is answered by one message, but for `close …` and `drop`, which end the session, and `push N SIZE`.
"""
import asyncio
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed


async def main():
    async with connect(sys.argv[1], compression=None, max_size=None, ping_interval=None) as socket:
        try:
            for line in sys.argv[2:]:
                words = line.split(" ")
                message = {"text": "x", "binary": b"x"}.get(words[0])
                await socket.send(line if message is None else message * int(words[1]))
                for _ in range(int(words[1]) if words[0] == "push" else 1):
                    await socket.recv()
        except ConnectionClosed:
            return


asyncio.run(main())
