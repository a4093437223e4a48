# A client: connects again and again, each time to another destination in another way, until it is told to end. Of each
# connection it tells: id, service, what it asked for, the way, when connect() began and when it returned (CLOCK_MONOTONIC, ns),
# and what came of it: who answered, an error, `closed` where nobody answered, or `killed`.
import errno, os, random, signal, socket, struct, sys, time

number, seed = sys.argv[1:]
random.seed(int(seed))
ends = False
TCP_FASTOPEN_CONNECT = 30
PATIENCE = struct.pack("@ll", 20, 0)
# The packet filter loses what these send to open a connection, and what they get for it.
LOST = ["127.0.0.77", "127.0.0.78"]


def end(*_):
    global ends
    ends = True


signal.signal(signal.SIGTERM, end)


# Service, host, port.
def destination(is_killed):
    services = ["direct", "proxied", "switching", "asked"]
    service = random.choice(services if is_killed or random.random() > 0.05 else ["refused", "unreachable"])
    low, port = random.randint(1, 250), random.randint(1000, 60000)
    if service == "asked":
        host, port = f"127.9.{random.randint(0, 255)}.{low}", random.randint(201, 204)
    else:
        host = f"10.9.{NETWORKS[service]}.{low}"
    if not is_killed and service in services[:3] and random.random() < 0.3:
        host = f"fd99:{NETWORKS[service]}::{low:x}"
    elif not is_killed and random.random() < 0.3:
        host = f"::ffff:{host}"
    return service, host, port


NETWORKS = {"direct": 1, "proxied": 2, "switching": 3, "refused": 4, "unreachable": 5}


def connect(stream, way, to, said):
    if way == "early":
        # Small enough for the SYN.
        stream.sendto(said, socket.MSG_FASTOPEN, to)
        return
    if way == "lazy":
        stream.setsockopt(socket.SOL_TCP, TCP_FASTOPEN_CONNECT, 1)
    stream.connect(to)


def once(said, way, to):
    stream = socket.socket(socket.AF_INET6 if ":" in to[0] else socket.AF_INET)
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        stream.setsockopt(socket.SOL_SOCKET, option, PATIENCE)
    before, after = time.monotonic_ns(), None
    try:
        connect(stream, way, to, said)
        after = time.monotonic_ns()
        if way != "early":
            stream.sendall(said)
        answer = bytearray()
        while not answer.endswith(b"\n"):
            got = stream.recv(64)
            if not got:
                return before, after, "closed"
            answer += got
        peer = stream.getpeername()[:2]
        return before, after, answer.decode().strip() if peer == to else f"peer:{peer[0]}/{peer[1]}"
    except OSError as error:
        return before, after or time.monotonic_ns(), errno.errorcode[error.errno]
    finally:
        stream.close()


# Ends in the middle of its handshake, without a word.
def killed(said, way, to):
    before = time.monotonic_ns()
    child = os.fork()
    if child == 0:
        try:
            stream = socket.socket()
            stream.bind((random.choice(LOST), 0))
            stream.setblocking(False)
            connect(stream, way, to, said)
            while True:
                stream.send(said)
        except BlockingIOError:
            os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    was_killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    return before, time.monotonic_ns(), "killed" if was_killed else "survived"


n = 0
while not ends:
    n += 1
    one = f"{number}-{n}"
    is_killed = random.random() < 0.02
    service, *to = destination(is_killed)
    to, way = tuple(to), random.choice(["plain", "early", "lazy"])
    said = f"{one}\n".encode()
    before, after, outcome = (killed if is_killed else once)(said, way, to)
    print(one, service, f"{to[0]}/{to[1]}", way, before, after, outcome, flush=True)
