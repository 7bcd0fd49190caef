"""A client that asks 1,000 times a second, or as often as wanted, on one connection, and how long it had to
wait.

`python3 bench/paced.py PORT FILE [SERVICE [SECONDS]]` is the client, a process of its own: nothing else in
the bench may keep it from asking. It counts (INCR) in the Redis at PORT, or asks a PostgreSQL for a constant,
once in so many SECONDS. For each answer FILE gets the time at which it asked, the time of the answer, and by
how much it was late to ask on its own account (it was not run in time). `Paced` starts such a client and
reads its file.
"""

import array
import contextlib
import mmap
import pathlib
import socket
import struct
import subprocess
import sys
import time

EVERY_S = 1e-3
# Three doubles for each answer; the file has room for some hours.
FIELDS, ANSWERS_MAX = 3, 20_000_000


def of_postgres(kind, text):
    """A message of PostgreSQL's protocol."""
    return kind + struct.pack("!i", len(text) + 4) + text


# By service: what is said first, the question, and how an answer ends. PostgreSQL has told all once it is
# ready for a query, outside a transaction.
SERVICES = {
    "redis": (b"PING\r\n", b"INCR paced\r\n", b"\r\n"),
    "postgres": (
        of_postgres(b"", struct.pack("!i", 3 << 16) + b"user\0bench\0database\0bench\0\0"),
        of_postgres(b"Q", b"select 1\0"),
        of_postgres(b"Z", b"I"),
    ),
}


def answer(link, end):
    """Reads an answer; False: the connection is over."""
    heard = b""
    while not heard.endswith(end):
        more = link.recv(1000)
        if not more:
            return False
        heard += more
    return True


def ask(port, path, service="redis", every_s=EVERY_S):
    """The client: never ends by itself, but with the connection."""
    greeting, question, end = SERVICES[service]
    link = socket.create_connection(("127.0.0.1", port))
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    link.sendall(greeting)
    if not answer(link, end):
        return
    with open(path, "r+b") as file:
        table = memoryview(mmap.mmap(file.fileno(), 0)).cast("d")
    clock, at = time.monotonic, FIELDS
    due = clock()
    while True:
        now = clock()
        if now < due:
            time.sleep(due - now)
            now = clock()
        link.sendall(question)
        if not answer(link, end):
            return
        table[at], table[at + 1], table[at + 2] = now, clock(), now - due
        at += FIELDS
        # How many there are, written after them.
        table[0] = at / FIELDS - 1
        # A question that could not be asked in time is left out, as the next is due already.
        due = max(due + every_s, table[at - FIELDS + 1])


class Paced:
    """Such a client, which runs until `stack` is left."""

    def __init__(self, stack, port, directory, service="redis", every_s=EVERY_S):
        self.path = pathlib.Path(directory) / "paced"
        with open(self.path, "wb") as file:
            file.truncate(8 * FIELDS * ANSWERS_MAX)
        command = [sys.executable, __file__, str(port), str(self.path), service, str(every_s)]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        stack.callback(self.process.wait)
        stack.callback(self.process.kill)

    def is_there(self):
        """Is the connection still open?"""
        return self.process.poll() is None

    def answers(self, begin, end):
        """(asked, answered, own lateness) of all answers in a window of time.monotonic(), and one beyond."""
        with open(self.path, "rb") as file:
            head = array.array("d", file.read(8 * FIELDS))
            numbers = array.array("d", file.read(8 * FIELDS * int(head[0])))
        rows = [tuple(numbers[at : at + FIELDS]) for at in range(0, len(numbers), FIELDS)]
        return [row for row in rows if row[1] >= begin and row[0] <= end]

    def gaps(self, begin, end):
        """Of a window: the longest time between two answers, the longest that an answer took, and the longest
        by which the client itself was late, all in ms; and how many answers there were."""
        rows = self.answers(begin, end)
        between = [(late[1] - early[1], early[1]) for early, late in zip(rows, rows[1:], strict=False)]
        return {
            "gap_ms": longest([gap for gap, _ in between]),
            # For a look into a profile of that moment, by the same clock.
            "gap_at_s": max(between)[1] if between else None,
            "answer_ms": longest([answered - asked for asked, answered, _ in rows]),
            "own_ms": longest([late for _, _, late in rows]),
            "answers": len(rows),
        }


def longest(seconds):
    """The longest of these times, in ms; None: there is none."""
    return round(max(seconds) * 1e3, 2) if seconds else None


if __name__ == "__main__":
    with contextlib.suppress(ConnectionError):
        ask(int(sys.argv[1]), *sys.argv[2:4], *map(float, sys.argv[4:]))
