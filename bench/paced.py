"""A client that asks 1,000 times a second on one connection, and how long it had to wait.

`python3 bench/paced.py PORT FILE` is the client, a process of its own: nothing else in the bench may keep it
from asking. It counts (INCR) in the Redis at PORT. For each answer FILE gets the time at which it asked, the
time of the answer, and by how much it was late to ask on its own account (it was not run in time). `Paced`
starts such a client and reads its file.
"""

import array
import mmap
import pathlib
import socket
import subprocess
import sys
import time

EVERY_S = 1e-3
# Three doubles for each answer; the file has room for some hours.
FIELDS, ANSWERS_MAX = 3, 20_000_000


def ask(port, path):
    """The client: never ends by itself, but with the connection."""
    link = socket.create_connection(("127.0.0.1", port))
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with open(path, "r+b") as file:
        table = memoryview(mmap.mmap(file.fileno(), 0)).cast("d")
    clock, at = time.monotonic, FIELDS
    due = clock()
    while True:
        now = clock()
        if now < due:
            time.sleep(due - now)
            now = clock()
        link.sendall(b"INCR paced\r\n")
        answer = b""
        while not answer.endswith(b"\r\n"):
            more = link.recv(100)
            if not more:
                return
            answer += more
        table[at], table[at + 1], table[at + 2] = now, clock(), now - due
        at += FIELDS
        # How many there are, written after them.
        table[0] = at / FIELDS - 1
        # A question that could not be asked in time is left out, as the next is due already.
        due = max(due + EVERY_S, table[at - FIELDS + 1])


class Paced:
    """Such a client, which runs until `stack` is left."""

    def __init__(self, stack, port, directory):
        self.path = pathlib.Path(directory) / "paced"
        with open(self.path, "wb") as file:
            file.truncate(8 * FIELDS * ANSWERS_MAX)
        command = [sys.executable, __file__, str(port), str(self.path)]
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
    ask(int(sys.argv[1]), sys.argv[2])
