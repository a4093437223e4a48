# The endpoints: each listener accepts, reads a client's first line and answers with its own name. What it accepted is written
# down: the listener's name, the address that was connected to, what the first line said ("-": none came), and when.
import selectors, socket, sys, time

selector = selectors.DefaultSelector()


def listen(name, host, port):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, int(port)), family=family, backlog=4096)
    listener.setblocking(False)
    selector.register(listener, selectors.EVENT_READ, lambda: accept(name, listener))


def accept(name, listener):
    while True:
        try:
            stream, _ = listener.accept()
        except BlockingIOError:
            return
        at = time.monotonic_ns()
        stream.setblocking(False)
        # As a rule it is there already.
        said = bytearray()
        if not serve(name, stream, at, said):
            selector.register(
                stream, selectors.EVENT_READ, lambda stream=stream, at=at, said=said: serve(name, stream, at, said)
            )


# Whether it is over.
def serve(name, stream, at, said):
    try:
        while True:
            got = stream.recv(256)
            if not got:
                break
            if b"\n" in said:
                continue
            said += got
            if b"\n" in said:
                # A client that a signal interrupts in sendto() may have sent it twice: Python calls it again.
                tell(name, stream, said.split(b"\n")[0].decode(), at)
                stream.send(name.encode() + b"\n")
    except BlockingIOError:
        return False
    except OSError:
        # A client that was killed.
        pass
    if b"\n" not in said:
        tell(name, stream, "-", at)
    try:
        selector.unregister(stream)
    except KeyError:
        pass
    stream.close()
    return True


def tell(name, stream, said, at):
    host, port = stream.getsockname()[:2]
    print(name, f"{host}/{port}", said, at, flush=True)


for word in sys.argv[1:]:
    listen(*word.split("/"))
print("listening", flush=True)
while True:
    for key, _ in selector.select():
        key.data()
