"""`Pings`: a client that asks a guest's kernel for an echo all the time, and `Calls`, one that calls the
guest's Redis anew all the time, for a guest behind a gateway, which passes no echo.

A client with a TCP connection waits longer and longer before it sends again what was lost, and so does the
guest, so after seconds without a network they tell of their own patience. What is asked anew is answered at
once as soon as the guest can be reached.
"""

import contextlib
import selectors
import socket
import struct
import threading
import time

ECHO_REQUEST, ECHO_REPLY = 8, 0
EVERY_S = 0.005
# A gateway lets 128 clients of an address wait for a guest that does not answer.
CALL_EVERY_S, CALLS_MAX = 0.04, 100


def checksum(data):
    """The checksum of RFC 1071."""
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def echo_request(identifier, number):
    """An ICMP echo request without content."""
    head = struct.pack(">BBHHH", ECHO_REQUEST, 0, 0, identifier, number)
    return head[:2] + struct.pack(">H", checksum(head)) + head[4:]


class Pings:
    """Asks `address` from a host (`namespaces.Host`) every few milliseconds until `stop`."""

    def __init__(self, host, address, identifier=0x4C53):
        self.address, self.identifier = address, identifier
        with host.entered():
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        self.socket.settimeout(0.2)
        # When each answer came (CLOCK_MONOTONIC).
        self.answered = []
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=work, daemon=True) for work in (self._ask, self._hear)]
        for thread in self.threads:
            thread.start()

    def _ask(self):
        number = 0
        while not self.stopping.wait(EVERY_S):
            number = (number + 1) & 0xFFFF
            # While nobody knows the guest's Ethernet address, the kernel refuses to send.
            with contextlib.suppress(OSError):
                self.socket.sendto(echo_request(self.identifier, number), (self.address, 0))

    def _hear(self):
        while not self.stopping.is_set():
            with contextlib.suppress(OSError):
                packet = self.socket.recv(256)
                body = packet[(packet[0] & 15) * 4 :]
                if body[0] == ECHO_REPLY and struct.unpack(">H", body[4:6])[0] == self.identifier:
                    self.answered.append(time.monotonic())

    def stop(self):
        """Ends it."""
        self.stopping.set()
        for thread in self.threads:
            thread.join()
        self.socket.close()


class Calls:
    """Calls the Redis at `address` and `port` from a host every few milliseconds until `stop`."""

    def __init__(self, host, address, port):
        self.host, self.place, self.answered = host, (address, port), []
        self.waiting = selectors.DefaultSelector()
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._work, daemon=True)
        self.thread.start()

    def _work(self):
        due = time.monotonic()
        while not self.stopping.is_set():
            if time.monotonic() >= due and len(self.waiting.get_map()) < CALLS_MAX:
                due = time.monotonic() + CALL_EVERY_S
                self._call()
            for key, _ in self.waiting.select(EVERY_S):
                self._take(key.fileobj)

    def _call(self):
        with contextlib.suppress(OSError):
            link = self.host.connect(*self.place, 1)
            link.sendall(b"PING\r\n")
            self.waiting.register(link, selectors.EVENT_READ)

    def _take(self, link):
        self.waiting.unregister(link)
        with contextlib.suppress(OSError), link:
            if link.recv(64).startswith(b"+PONG"):
                self.answered.append(time.monotonic())

    def stop(self):
        """Ends it."""
        self.stopping.set()
        self.thread.join()
        for key in list(self.waiting.get_map().values()):
            key.fileobj.close()
        self.waiting.close()
