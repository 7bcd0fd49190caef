"""Clients of the guest's Redis that keep a ledger: what was acknowledged must be there afterwards, and only
that.

A ledger opens one connection and never another one: a reset is a finding. Each write has a key of its own and
a value that follows from the key, so that a shifted or repeated answer shows.
"""

import contextlib
import hashlib
import threading
import time

# Longest silence before a client gives its connection up; far above any failover.
PATIENCE_S = 60
READ_BACK = 200


class RedisError(Exception):
    """The server answered with an error."""


class Redis:
    """A connection to a Redis, with answers as Python values."""

    def __init__(self, host, address, port, timeout=PATIENCE_S):
        self.socket = host.connect(address, port, timeout)
        self.buffer = b""

    def close(self):
        """Closes the connection, and wakes who waits at it."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(2)
        self.socket.close()

    def send(self, *words):
        """Sends a command without waiting for its answer."""
        self.socket.sendall(encoded(words))

    def ask(self, *words):
        """Sends a command; its answer."""
        self.send(*words)
        return self.answer()

    def answer(self):
        """The next answer; `RedisError` for one that is an error."""
        line = self._line()
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            raise RedisError(rest.decode(errors="replace"))
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self._bytes(int(rest) + 2)[:-2].decode(errors="replace")
        if kind == b"*":
            return [self.answer() for _ in range(int(rest))]
        raise ConnectionError(f"this is no answer of a Redis: {line[:40]!r}")

    def _line(self):
        while b"\r\n" not in self.buffer:
            self._more()
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line

    def _bytes(self, length):
        while len(self.buffer) < length:
            self._more()
        piece, self.buffer = self.buffer[:length], self.buffer[length:]
        return piece

    def _more(self):
        piece = self.socket.recv(65536)
        if not piece:
            raise ConnectionError("the server closed the connection")
        self.buffer += piece


def encoded(words):
    """A command in Redis' protocol."""
    words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


class Ledger:
    """A client that writes numbered keys until it is stopped, and then reads back each one that was
    acknowledged."""

    numbers = iter(range(1 << 30))

    def __init__(self, host, address, port, every_s=0.004):
        """`every_s`: from one write to the next, at least; the pauses it sees are no finer than that."""
        self.name, self.every_s = f"ledger{next(self.numbers)}", every_s
        self.redis = Redis(host, address, port)
        # When each write was acknowledged; the number of a write is its place here.
        self.acknowledged, self.error, self.wrong = [], None, 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def key(self, number):
        """The key of the write with this number."""
        return f"{self.name}:{number}"

    def _pair(self, number):
        key = self.key(number)
        return key, hashlib.blake2b(key.encode(), digest_size=8).hexdigest()

    def _write(self):
        try:
            while not self._stopping.wait(self.every_s):
                number = len(self.acknowledged)
                key, value = self._pair(number)
                if self.redis.ask("SET", key, value) != "OK":
                    self.wrong += 1
                self.acknowledged.append(time.monotonic())
                # The newest state must be there at any time, not only at the end.
                if number % 8 == 0 and self.redis.ask("GET", key) != value:
                    self.wrong += 1
        except (OSError, RedisError) as error:
            self.error = f"after {len(self.acknowledged)} writes: {error or type(error).__name__}"

    def wait_for(self, more, seconds):
        """Waits until `more` writes are acknowledged from now on. False: not within that time, or an
        error."""
        goal, deadline = len(self.acknowledged) + more, time.monotonic() + seconds
        while len(self.acknowledged) < goal:
            if self.error or time.monotonic() > deadline:
                return False
            time.sleep(0.005)
        return True

    def pause_around(self, instant, until=None):
        """The longest time without an acknowledgement from just before `instant` (to `until`), in seconds."""
        until = time.monotonic() if until is None else until
        before = max((at for at in self.acknowledged if at <= instant), default=instant)
        times = [before, *(at for at in self.acknowledged if instant < at <= until), until]
        return max(later - earlier for earlier, later in zip(times, times[1:]))

    def back_after(self, instant):
        """Seconds from `instant` to the end of the longest pause after it; None: not over yet.

        For what makes a pause that is longer than all others; how long the client waited at all is
        `pause_around`.
        """
        later = [at for at in self.acknowledged if at > instant]
        if not later:
            return None
        pauses = [(b - a, b) for a, b in zip([instant, *later], later)]
        return max(pauses)[1] - instant

    def is_over(self):
        """Has somebody ended it, by `abandon` or `verdict`?"""
        return self._stopping.is_set()

    def abandon(self):
        """Ends the writing without waiting for an answer; nothing can be read back."""
        self._stopping.set()
        self.redis.close()
        self._thread.join()

    def verdict(self, seconds=PATIENCE_S):
        """Stops, reads everything back on the same connection, and closes it. None if all is well, or a
        sentence."""
        self._stopping.set()
        self._thread.join(seconds)
        if self._thread.is_alive():
            self.redis.close()
            return f"{len(self.acknowledged)} writes, and then no answer for {seconds} s"
        if self.error:
            return f"the client lost its connection {self.error}"
        try:
            self.redis.socket.settimeout(seconds)
            lost = self._read_back()
        except (OSError, RedisError) as error:
            return f"reading back failed: {error}"
        finally:
            self.redis.close()
        if lost or self.wrong:
            count = len(self.acknowledged)
            return f"of {count} acknowledged writes {lost} are lost, {self.wrong} answers were wrong"
        return None

    def _read_back(self):
        lost = 0
        for first in range(0, len(self.acknowledged), READ_BACK):
            pairs = [
                self._pair(number) for number in range(first, min(first + READ_BACK, len(self.acknowledged)))
            ]
            values = self.redis.ask("MGET", *(key for key, _ in pairs))
            lost += sum(value is None for value in values)
            self.wrong += sum(value not in (None, own) for (_, own), value in zip(pairs, values))
        return lost
