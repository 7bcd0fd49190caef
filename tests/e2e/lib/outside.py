"""What stands outside a pair and sees all that it shows: a wire to the gateway that watches, and the world of
a bare guest.

Both speak QEMU's stream framing on Unix sockets, one for each half: a 4-byte big-endian length, then the
frame. What a half shows is counted by half, in order, so that two halves that show something in turns are
seen to.
"""

import contextlib
import os
import select
import socket
import struct
import threading
import time

HALVES = ["primary", "backup"]
READ_LEN = 1 << 18


class Shown:
    """Which half showed frames, in order: one turn for each time that the other one is heard."""

    def __init__(self):
        self.turns = []

    def note(self, half):
        now = time.monotonic()
        if not self.turns or self.turns[-1]["half"] != half:
            self.turns.append({"half": half, "first": now, "frames": 0})
        self.turns[-1] |= {"last": now, "frames": self.turns[-1]["frames"] + 1}

    def is_split(self):
        """The primary may be followed by the backup, once."""
        return len(self.turns) > 2 or [turn["half"] for turn in self.turns] == ["backup", "primary"]

    def story(self):
        return ", ".join(f"{turn['half']} {turn['frames']}" for turn in self.turns)


class Frames:
    """Cuts a byte stream into frames."""

    def __init__(self):
        self.bytes = b""

    def push(self, piece):
        self.bytes += piece
        while len(self.bytes) >= 4:
            (length,) = struct.unpack_from(">I", self.bytes)
            if len(self.bytes) < 4 + length:
                return
            yield self.bytes[4 : 4 + length]
            self.bytes = self.bytes[4 + length :]


class Outside:
    """A thread with a socket for each half; `on_frame(half, frame)` for what one shows."""

    def __init__(self, directory):
        self.shown = Shown()
        self.sockets = {half: directory / f"outside-{half}" for half in HALVES}
        self.listeners, self.stopping = {}, False
        for half, path in self.sockets.items():
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(str(path))
            listener.listen(8)
            self.listeners[listener] = half
        self.wake_reading, self.wake_writing = os.pipe()
        # By connection: what is done with what comes.
        self.connections = {}
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def net(self, half):
        """Flags for that half."""
        return ["--net", f"gateway={self.sockets[half]}"]

    def run(self):
        while not self.stopping:
            reading = [*self.listeners, *self.connections, self.wake_reading]
            # In the order of HALVES: what the primary had shown before it died is noted before what the
            # backup shows.
            ready = select.select(reading, [], [])[0]
            for one in sorted(ready, key=self.order):
                if one in self.listeners:
                    self.accept(self.listeners[one], one.accept()[0])
                elif one in self.connections:
                    self.read(one)

    def order(self, one):
        return HALVES.index(self.connections[one][0]) if one in self.connections else len(HALVES)

    def accept(self, half, connection):
        self.connections[connection] = (half, Frames(), None)

    def read(self, connection):
        half, frames, _ = self.connections[connection]
        try:
            piece = connection.recv(READ_LEN)
        except OSError:
            piece = b""
        if not piece:
            self.drop(connection)
            return
        for frame in frames.push(piece):
            self.on_frame(half, frame)

    def drop(self, connection):
        self.connections.pop(connection, None)
        connection.close()

    def on_frame(self, half, frame):
        self.shown.note(half)

    def close(self):
        self.stopping = True
        os.write(self.wake_writing, b"x")
        self.thread.join()
        for one in [*self.listeners, *self.connections]:
            one.close()
        os.close(self.wake_reading)
        os.close(self.wake_writing)


class Wire(Outside):
    """To the real gateway: what comes from one side goes to the other; what the guest shows is noted."""

    def __init__(self, directory, gateway):
        self.gateway = gateway
        super().__init__(directory)

    def accept(self, half, connection):
        onward = socket.socket(socket.AF_UNIX)
        try:
            onward.connect(str(self.gateway))
        except OSError:
            connection.close()
            onward.close()
            return
        self.connections[connection] = (half, Frames(), onward)
        self.connections[onward] = (half, None, connection)

    def read(self, one):
        half, frames, other = self.connections[one]
        try:
            piece = one.recv(READ_LEN)
            if piece:
                other.sendall(piece)
        except OSError:
            piece = b""
        if not piece:
            self.drop(one)
            self.drop(other)
            return
        for frame in frames.push(piece) if frames else ():
            self.on_frame(half, frame)

    def on_frame(self, half, frame):
        # The halves ask the gateway whether it is there; what the guest shows has the guest's address.
        if frame[6:12] == self.mac:
            self.shown.note(half)

    mac = bytes.fromhex("525400facade")


class Bare(Outside):
    """The world of tests/guests/server.bin, which answers a byte on its UART with a frame: a number and a
    hash of its life.

    The same number with another hash is another life: an acknowledged one was lost, or two go on.
    """

    # An unanswered request is made again so often.
    AGAIN = 0.05

    def __init__(self, directory, consoles, every=0.002):
        self.answers, self.contradictions, self.highest, self.error = {}, [], 0, None
        self.news = threading.Event()
        self.every = every
        super().__init__(directory)
        self.consoles = {half: None for half in HALVES}
        self.paths = consoles
        self.asking, self.acknowledged_at = True, []
        self.client = threading.Thread(target=self.ask, daemon=True)

    def on_frame(self, half, frame):
        super().on_frame(half, frame)
        # The guest's frames have no addresses; what a half announces of itself has.
        if len(frame) < 32 or any(frame[:14]):
            return
        number, digest = struct.unpack_from("<QQ", frame, 16)
        if self.answers.setdefault(number, digest) != digest:
            self.contradictions.append(number)
        if number > self.highest:
            self.highest = number
            self.acknowledged_at.append(time.monotonic())
        self.news.set()

    def type(self, byte):
        """To both consoles: the guest of the half that is not live gets none of it."""
        for half, console in self.consoles.items():
            if console is None:
                console = socket.socket(socket.AF_UNIX)
                try:
                    console.connect(str(self.paths[half]))
                    console.setblocking(False)
                    self.consoles[half] = console
                except OSError:
                    console.close()
                    continue
            try:
                console.send(bytes([byte]))
                # Read and forgotten: what the guest prints.
                while console.recv(65536):
                    pass
                raise ConnectionError
            except BlockingIOError:
                pass
            except OSError:
                console.close()
                self.consoles[half] = None

    def ask(self):
        while self.asking:
            wanted = self.highest + 1
            self.type(0x80 + wanted % 100)
            again = time.monotonic() + self.AGAIN
            while self.highest < wanted and time.monotonic() < again and self.asking:
                self.news.wait(self.AGAIN)
                self.news.clear()
            time.sleep(self.every)

    def start(self):
        self.client.start()

    def wait_for(self, more, seconds):
        """True once so many more requests are answered."""
        goal, deadline = self.highest + more, time.monotonic() + seconds
        while self.highest < goal and time.monotonic() < deadline:
            time.sleep(0.005)
        return self.highest >= goal

    def close(self):
        self.asking = False
        with contextlib.suppress(RuntimeError):
            self.client.join()
        for console in self.consoles.values():
            if console:
                console.close()
        super().close()
