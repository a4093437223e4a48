"""Answers any request with SIZE bytes, sent with MSG_ZEROCOPY: `zerocopy.py LOG PORT SIZE`.

Logs each answer, and before it how many sends of it the kernel reported as done by reference or after all by a copy
(Documentation/networking/msg_zerocopy.rst).
"""

import select
import socket
import sys

SO_ZEROCOPY = 60
MSG_ZEROCOPY = 0x4000000


def completions(connection):
    """Sends that the kernel is done with: a range of their numbers in each message of the error queue."""
    done = 0
    while True:
        try:
            _, ancillary, _, _ = connection.recvmsg(0, 512, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return done
        for _, _, data in ancillary:
            # struct sock_extended_err: ee_info and ee_data are the third and fifth word.
            first, last = (int.from_bytes(data[at : at + 4], sys.byteorder) for at in (8, 12))
            done += last - first + 1


def send(connection, data):
    """Sends all of it; gives how many sends were reported."""
    view, sends, done = memoryview(data), 0, 0
    # What is in the error queue is told as POLLERR, whatever is asked for. select() has no set for that.
    errors = select.poll()
    errors.register(connection, 0)
    while view:
        sent = connection.send(view, MSG_ZEROCOPY)
        sends += 1
        view = view[sent:]
        done += completions(connection)
    while done < sends:
        errors.poll(1000)
        done += completions(connection)
    return done


def main():
    path, port, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    listener = socket.create_server(("127.0.0.1", port))
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"z" * size
    with open(path, "w", encoding="ascii") as log:
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.setsockopt(socket.SOL_SOCKET, SO_ZEROCOPY, 1)
                while True:
                    head = b""
                    while not head.endswith(b"\r\n\r\n"):
                        received = connection.recv(65536)
                        if not received:
                            break
                        head += received
                    if not head:
                        break
                    done = send(connection, answer)
                    log.write(f"zerocopy {done}\n{head.split(b' ')[0].decode()} 200\n")
                    log.flush()


main()
