"""What stands around the guests of a site whose hosts have real bridges and taps: a DHCP server that gives
each guest its address, and a witness at the switch that sees which host shows a guest.

The witness needs nothing of any process under test: it reads the frames that come in at the switch's ports.
Whoever is live answers its clients from its own host's port. So the order of the ports is the order of the
owners, and a host that shows the guest once more after another one has is a second live VM.
"""

import contextlib
import ctypes
import dataclasses
import socket
import struct
import threading
import time

from .namespaces import NETNS, enter

# linux/if_packet.h and asm-generic/socket.h.
SOL_PACKET, PACKET_IGNORE_OUTGOING, SO_ATTACH_FILTER = 263, 23, 26
DISCOVER, OFFER, REQUEST, ACK = 1, 2, 3, 5
MAGIC = b"\x63\x82\x53\x63"
LEASE_S = 86400


def only_from(seen, mac):
    """Has a packet socket see no frames but those that come in from this Ethernet address: what the hosts
    say to each other, such as a guest's memory, must not cost the test its processor."""
    seen.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    first, rest = struct.unpack(">IH", mac)
    # Classic BPF: loads the word and the half-word of the source address, and compares them.
    program = [(0x20, 0, 0, 6), (0x15, 0, 3, first), (0x28, 0, 0, 10), (0x15, 0, 1, rest)]
    program += [(0x06, 0, 0, 64), (0x06, 0, 0, 0)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    filtered = struct.pack("HP", len(program), ctypes.addressof(code))
    seen.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, filtered)


def mac_bytes(text):
    """The six bytes of an Ethernet address."""
    return bytes.fromhex(text.replace(":", ""))


class Dhcp:
    """A DHCP server on one host that knows each guest by its Ethernet address: {mac: address}."""

    def __init__(self, host, leases):
        self.address = socket.inet_aton(host.address)
        self.leases = {mac_bytes(mac): socket.inet_aton(address) for mac, address in leases.items()}
        with host.entered():
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
        self.socket.bind(("", 67))
        threading.Thread(target=self._serve, daemon=True).start()

    def stop(self):
        """Ends it."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                asked, _ = self.socket.recvfrom(2048)
                if (answer := self._answer(asked)) is not None:
                    self.socket.sendto(answer, ("255.255.255.255", 68))

    def _answer(self, asked):
        given = self.leases.get(asked[28:34])
        kind = _option(asked, 53)
        if given is None or not kind or kind[0] not in (DISCOVER, REQUEST):
            return None
        said = bytes([OFFER if kind[0] == DISCOVER else ACK])
        options = [(53, said), (54, self.address), (51, struct.pack(">I", LEASE_S)), (1, b"\xff\xff\xff\0")]
        head = b"\x02" + asked[1:4] + asked[4:8] + b"\0" * 8 + given + self.address + b"\0" * 4
        body = b"".join(bytes([code, len(value)]) + value for code, value in options)
        return head + asked[28:44] + b"\0" * 192 + MAGIC + body + b"\xff"


def _option(packet, wanted):
    place = 240
    while place + 1 < len(packet) and packet[place] != 255:
        code, length = packet[place], packet[place + 1]
        if code == wanted:
            return packet[place + 2 : place + 2 + length]
        place += 1 if code == 0 else 2 + length
    return None


@dataclasses.dataclass
class Shown:
    """For so long one host alone showed a guest."""

    host: str
    first: float
    last: float
    frames: int


class Witness:
    """Sees at the switch which host shows the guest with this Ethernet address. `ports`: {host: port}.

    It has one socket for all ports, which gives frames in the order in which they came in. Of several sockets
    a thread that is late finds frames in all, and cannot know which of them came first.
    """

    def __init__(self, network, ports, mac):
        self.mac, self.turns = mac_bytes(mac), []
        self.hosts_of_ports = {port: host for host, port in ports.items()}
        with open("/proc/thread-self/ns/net") as before, open(NETNS / network.switch) as there:
            enter(there)
            try:
                self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            finally:
                enter(before)
        only_from(self.socket, self.mac)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 20)
        self.socket.settimeout(0.2)
        self.stopping = False
        self.thread = threading.Thread(target=self._look, daemon=True)
        self.thread.start()

    def stop(self):
        """Ends it."""
        self.stopping = True
        self.thread.join()
        self.socket.close()

    def _look(self):
        while not self.stopping:
            # A cable that is pulled is told once, and the socket goes on.
            with contextlib.suppress(OSError):
                frame, about = self.socket.recvfrom(64)
                # A frame that came before the socket was narrowed may be another's, and the switch's own
                # bridge sees what is for all.
                host = self.hosts_of_ports.get(about[0])
                if frame[6:12] == self.mac and host:
                    self._note(host)

    def _note(self, host):
        now = time.monotonic()
        if not self.turns or self.turns[-1].host != host:
            self.turns.append(Shown(host, now, now, 0))
        self.turns[-1].last = now
        self.turns[-1].frames += 1

    def hosts(self):
        """The hosts that have shown the guest, in their order."""
        return [turn.host for turn in self.turns]

    def story(self):
        """The same in words."""
        return ", ".join(f"{turn.host} {turn.frames} frames" for turn in self.turns) or "nobody"


def is_part_in_order(some, all_of_them):
    """Can `some` be had from `all_of_them` by leaving out members?"""
    rest = iter(all_of_them)
    return all(any(one == other for other in rest) for one in some)
