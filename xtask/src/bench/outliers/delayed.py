"""Answers late: `PORT SECONDS`."""
import asyncio, sys

PORT, SECONDS = int(sys.argv[1]), float(sys.argv[2])
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\nconnection: close\r\n\r\n" + b"x" * 100


async def serve(reader, writer):
    try:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(SECONDS)
        writer.write(ANSWER)
        await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", PORT, backlog=4096)
    await server.serve_forever()


asyncio.run(main())
