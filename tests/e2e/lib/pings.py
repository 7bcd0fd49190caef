"""`Pings`: a client that asks a guest's kernel for an echo all the time.

A client with a TCP connection waits longer and longer before it sends again what was lost, so after seconds
without a network it tells of its own patience and not of the guest. Each echo request is a new one, which is
answered at once as soon as the guest can be reached.
"""

import contextlib
import socket
import struct
import threading
import time

ECHO_REQUEST, ECHO_REPLY = 8, 0
EVERY_S = 0.005


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

    def first_after(self, instant):
        """Seconds from `instant` to the next answer; None: there is none yet."""
        return next((at - instant for at in list(self.answered) if at > instant), None)

    def stop(self):
        """Ends it."""
        self.stopping.set()
        for thread in self.threads:
            thread.join()
        self.socket.close()
