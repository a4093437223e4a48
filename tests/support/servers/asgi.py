"""Answers /STATUS/SIZE: for uvicorn, which logs what it answered."""


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    _, status, size = scope["path"].split("/")
    length = [(b"content-length", size.encode())]
    await send({"type": "http.response.start", "status": int(status), "headers": length})
    await send({"type": "http.response.body", "body": b"x" * int(size)})
