"""WebSocket by the `websockets` package, which counts what it receives and sends; one line of JSON a session at its end.

PORT. Text is answered by as much text, binary by as much binary in fragments; `close CODE` closes with that code, `drop` without a
word, and `push N SIZE` sends N messages of that size.
"""
import asyncio
import json
import sys

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed


async def session(socket):
    counts = {"path": socket.request.path, "received": [0, 0], "sent": [0, 0]}

    def count(which, message):
        counts[which][0] += 1
        counts[which][1] += len(message.encode() if isinstance(message, str) else message)

    async def send(message):
        count("sent", message)
        await socket.send(message)

    try:
        async for message in socket:
            count("received", message)
            if isinstance(message, bytes):
                count("sent", message)
                half = len(message) // 2
                await socket.send([message[:half], message[half:]])
                continue
            words = message.split(" ")
            if words[0] == "close":
                await socket.close(int(words[1]), "as asked")
            elif words[0] == "drop":
                socket.transport.close()
            elif words[0] == "push":
                for _ in range(int(words[1])):
                    await send("x" * int(words[2]))
            elif words[0] == "ping":
                await (await socket.ping())
                await send("pinged")
            else:
                await send(message)
    except ConnectionClosed:
        pass
    await socket.wait_closed()
    counts["code"] = socket.close_code
    print(json.dumps(counts), flush=True)


async def main():
    compression = None if sys.argv[2] == "plain" else "deflate"
    async with serve(session, "127.0.0.1", int(sys.argv[1]), compression=compression, ping_interval=None, max_size=None):
        await asyncio.get_running_loop().create_future()


asyncio.run(main())
