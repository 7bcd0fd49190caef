"""Scenarios of strangers and neighbours: whoever reaches a port, and a guest that reaches for its host.

Each is played by `hostile.py`. A stranger is a host of its own on the switch. Whatever it sends, it must get
nothing of the guest's and keep no client waiting.
"""

import contextlib
import socket
import struct
import threading
import time

from lib.ledger import Redis, RedisError
from lib.namespaces import meanwhile
from lib.pair import BACKUP_PORT, GATEWAY_PORT, MAC, REDIS, Failed, Process, help_of, known
from lib.report import Scenarios, ensure
from lib.scene import client_of, goes_on, served

SCENARIOS = Scenarios()
GUEST_MAC = bytes.fromhex(MAC.replace(":", ""))
# A failover by the default timeout, what a busy machine adds, and nothing for reconnecting slowly.
FAILOVER_S = 2


def framed(frame):
    """A frame as QEMU's stream sockets send it."""
    return struct.pack("!I", len(frame)) + frame


def announcement(mac=GUEST_MAC, address=(10, 0, 2, 15)):
    """A broadcast ARP request of a guest that tells its own address."""
    address = bytes(address)
    arp = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + mac + address + bytes(6) + address
    return (b"\xff" * 6 + mac + b"\x08\x06" + arp).ljust(60, b"\0")


class Recorder:
    """The bytes that one host sends to a port, from the first connection on, as an eavesdropper sees them."""

    def __init__(self, host, port):
        self.socket, self.port, self.pieces, self.first = host.sniffer(), port, {}, None
        self._stopping = False
        self._thread = meanwhile(self._read)

    def _read(self):
        self.socket.settimeout(0.2)
        while not self._stopping:
            with contextlib.suppress(TimeoutError):
                self._note(self.socket.recv(65536))

    def _note(self, frame):
        if frame[12:14] != b"\x08\x00" or frame[23] != socket.IPPROTO_TCP:
            return
        header = 14 + (frame[14] & 15) * 4
        end = 14 + struct.unpack_from("!H", frame, 16)[0]
        _, to, number = struct.unpack_from("!HHI", frame, header)
        if to != self.port:
            return
        if frame[header + 13] & 2:
            self.pieces, self.first = {}, number + 1
        payload = frame[header + (frame[header + 12] >> 4) * 4 : end]
        if payload and self.first is not None:
            self.pieces.setdefault((number - self.first) % (1 << 32), payload)

    def stop(self):
        """Ends it; the bytes in their order, up to the first that is missing."""
        self._stopping = True
        self._thread.join()
        self.socket.close()
        stream = b""
        for place, payload in sorted(self.pieces.items()):
            if place > len(stream):
                break
            stream += payload[len(stream) - place :]
        return stream


class Crowd:
    """Connections of a stranger that say little or nothing; those that are closed are opened again, until the
    end."""

    def __init__(self, host, address, port, size, byte_every_s=None, again_every_s=0.2):
        self.host, self.where, self.size = host, (address, port), size
        self.byte_every_s, self.again_every_s = byte_every_s, again_every_s
        self.open, self.refused, self._stopping = [], 0, threading.Event()
        self._fill()
        self._thread = meanwhile(self._stay)

    def _fill(self):
        while len(self.open) < self.size and not self._stopping.is_set():
            try:
                self.open.append(self.host.connect(*self.where, timeout=0.5))
            except OSError:
                self.refused += 1
                return

    def _stay(self):
        next_byte = 0
        while not self._stopping.wait(self.again_every_s):
            self.open = [connection for connection in self.open if not closed(connection)]
            self._fill()
            if self.byte_every_s and time.monotonic() >= next_byte:
                next_byte = time.monotonic() + self.byte_every_s
                for connection in self.open:
                    # The first bytes are those of a genuine peer of either kind: a small length.
                    with contextlib.suppress(OSError):
                        connection.send(b"\0")

    def stop(self):
        """Ends it."""
        self._stopping.set()
        self._thread.join()
        for connection in self.open:
            connection.close()


def closed(connection):
    """Has the other end closed it? What it says is thrown away."""
    try:
        connection.setblocking(False)
        while piece := connection.recv(65536):
            del piece
        return True
    except BlockingIOError:
        return False
    except OSError:
        return True


def attack(stranger, address, opening, again=None, seconds=2):
    """What a stranger hears at the gateway's frame port if it says `opening`, and `again` every 10 ms."""
    heard, end = b"", time.monotonic() + seconds
    try:
        connection = stranger.connect(address, GATEWAY_PORT)
        with connection:
            connection.settimeout(0.01)
            connection.sendall(opening)
            while time.monotonic() < end:
                with contextlib.suppress(TimeoutError):
                    piece = connection.recv(65536)
                    if not piece:
                        break
                    heard += piece
                if again:
                    connection.sendall(again)
    except OSError:
        # Sent away: as it should be.
        pass
    return heard


@SCENARIOS.add(
    "stranger-frames",
    "A stranger at the gateway's frame port gets nothing of the guest's and disturbs nobody, "
    "whatever it sends: plain frames, a genuine connection's bytes once more, garbage",
)
def stranger_frames(turn):
    with turn.pair() as pair:
        recorder = Recorder(pair.host("a"), GATEWAY_PORT)
        pair.start()
        with client_of(pair) as ledger:
            genuine = recorder.stop()
            ensure(len(genuine) > 1000, f"only {len(genuine)} bytes of the genuine connection were seen")
            stranger, address = pair.host("stranger"), pair.host("gateway").address
            plain = framed(announcement())
            attacks = {
                "plain frames with the guest's MAC": (plain, plain),
                "the bytes of a genuine connection": (genuine, None),
                "a genuine connection's first message and then plain frames": (genuine[:200], plain),
                "garbage": (turn.random.randbytes(100_000), turn.random.randbytes(100)),
                "the length of an endless frame": (b"\xff" * 4, b"\0" * 4000),
            }
            found = []
            for what, (opening, again) in attacks.items():
                begin = time.monotonic()
                heard = attack(stranger, address, opening, again)
                if b"ledger" in heard or GUEST_MAC in heard:
                    found.append(f"{what} brought a stranger {len(heard)} bytes of the guest's")
                pause = ledger.pause_around(begin)
                if pause > 1:
                    found.append(f"{what} kept a client waiting for {pause:.1f} s")
            ensure(pair.gateway.ended() is None, f"the gateway ended: {pair.gateway.last_words()}")
            if found:
                ledger.abandon()
            ensure(not found, "; ".join(found))


@SCENARIOS.add(
    "neighbour-mac", "Another VM of the gateway, with a key of its own, cannot take the guest's MAC"
)
def neighbour_mac(turn):
    with turn.pair() as pair:
        other = pair.make_key("other")
        pair.flags["gateway"]["--key"] = [pair.key, other]
        pair.start()
        with client_of(pair) as ledger:
            where = pair.machine["--net"] + (
                f",key={other}" if ",key=" in help_of(pair.program, "run") else ""
            )
            # An ordinary guest, which asks for an address and answers for it, with the same address of its
            # card.
            flags = known(pair.program, "run", pair.machine | {"--net": where})
            begin = time.monotonic()
            neighbour = Process(
                pair.host("stranger"), "neighbour", [pair.program, "run", *flags], pair.directory
            )
            time.sleep(15)
            if ledger.pause_around(begin) > 1:
                ledger.abandon()
                pause = ledger.pause_around(begin)
                raise Failed(f"a neighbour with the guest's MAC kept a client waiting for {pause:.1f} s")
            ensure(neighbour.ended() is None, f"the neighbour ended: {neighbour.last_words()}")
            return f"the client's longest wait {ledger.pause_around(begin, begin + 15) * 1000:.0f} ms"


def reaches(guest, host, address, port, bound_to=None):
    """Does a connection that the guest opens to `address` reach a service on `host`?"""
    service = host.listen(port, bound_to)
    service.settimeout(1.5)
    arrived = []

    def wait():
        with contextlib.suppress(OSError):
            connection, _ = service.accept()
            arrived.append(connection)
            connection.close()

    waiting = meanwhile(wait)
    # Redis connects to where it is told to bring a key; how that ends does not matter.
    with contextlib.suppress(RedisError):
        guest.ask("MIGRATE", address, port, "something", 0, 1000)
    waiting.join()
    service.close()
    return bool(arrived)


@SCENARIOS.add(
    "guest-reaches-out",
    "A guest reaches other hosts, but not its gateway's loopback, link-local addresses, the gateway's "
    "own port unless it is allowed by name, nor the pair's hosts if those are denied",
)
def guest_reaches_out(turn):
    with turn.pair() as pair:
        gateway, a, b = pair.host("gateway"), pair.host("a"), pair.host("b")
        gateway.run(["ip", "address", "add", "169.254.169.254/32", "dev", "lo"])
        pair.flags["gateway"] |= {"--allow": "10.0.2.2:7002", "--deny": [a.address, b.address]}
        pair.start()
        guest = pair.client()
        guest.ask("SET", "something", "precious")
        client = pair.host("client")
        ensure(
            reaches(guest, client, client.address, 7001),
            "the guest does not even reach a host of the network",
        )
        forbidden = {
            "the gateway host's loopback, by the gateway's address": (gateway, "10.0.2.2", "127.0.0.1"),
            "the gateway host's loopback, by the address of the resolver": (gateway, "10.0.2.3", "127.0.0.1"),
            "a link-local address of the gateway's host": (gateway, "169.254.169.254", "169.254.169.254"),
            "the primary's host": (a, a.address, None),
            "the backup's host": (b, b.address, None),
        }
        found = [
            what for what, (host, to, bound) in forbidden.items() if reaches(guest, host, to, 7003, bound)
        ]
        if calls_itself(pair, lambda: migrate(guest, gateway.address, GATEWAY_PORT)):
            found.append("the gateway's own frame port")
        ensure(not found, f"the guest reached {', '.join(found)}")
        ensure(
            reaches(guest, gateway, "10.0.2.2", 7002, "127.0.0.1"),
            "a destination that was allowed by name was refused",
        )


def migrate(guest, address, port):
    with contextlib.suppress(RedisError):
        guest.ask("MIGRATE", address, port, "something", 0, 500)


def calls_itself(pair, work):
    """Does the gateway call its own frame port while `work` runs?"""
    found, stopping = [], threading.Event()
    gateway = pair.host("gateway")

    def look():
        own = "".join(f"{int(part):02X}" for part in reversed(gateway.address.split(".")))
        while not stopping.is_set():
            table = open(f"/proc/{pair.gateway.pid}/net/tcp").read()
            # Local and remote address; also of a connection that was closed again at once, for which the port
            # then waits.
            for words in [line.split() for line in table.splitlines()[1:]]:
                if words[1] == f"{own}:{GATEWAY_PORT:04X}" and words[2].startswith(own):
                    found.append(words)
            time.sleep(0.01)

    looking = meanwhile(look)
    work()
    stopping.set()
    looking.join()
    return bool(found)


def fails_over_among(pair, what):
    """The pair fails over for its client in time, and the new primary does not hammer at the gateway."""
    with client_of(pair, f"among {what}") as ledger:
        calls = pair.network.count_calls("b", "gateway", GATEWAY_PORT)
        begin = time.monotonic()
        pair.primary.kill()
        goes_on(ledger, f"among {what} the primary was killed, and")
        time.sleep(max(0.0, begin + 3 - time.monotonic()))
        called, pause = calls(), ledger.back_after(begin)
        ensure(called <= 30, f"the new primary called the gateway {called} times in 3 s")
        ensure(pause < FAILOVER_S, f"among {what} the client waited {pause:.1f} s for a failover")
        return f"the client waited {pause * 1000:.0f} ms, {called} calls"


@contextlib.contextmanager
def starting_among(turn, crowds):
    """A pair that starts among crowds of a stranger, [(host, port, size, byte_every_s)], for a `with` block;
    the pair and a list of its crowds, which end with the block."""
    with turn.pair() as pair:
        pair.start_gateway()
        pair.start_backup()
        there = [crowd(pair, *one) for one in crowds]
        try:
            pair.start_primary()
            pair.wait_until_ready(60)
            yield pair, there
        finally:
            for one in there:
                one.stop()


def crowd(pair, host, port, size, byte_every_s=None):
    """A crowd of a stranger at a port of a host of the pair."""
    return Crowd(pair.host("stranger"), pair.host(host).address, port, size, byte_every_s=byte_every_s)


@SCENARIOS.add(
    "silent-at-gateway",
    "64 and more silent peers at the gateway's frame port, before and during a failover, are in "
    "nobody's way",
)
def silent_at_gateway(turn):
    with turn.pair() as pair:
        pair.start()
        peers = crowd(pair, "gateway", GATEWAY_PORT, 100)
        try:
            return fails_over_among(pair, "100 silent peers at the gateway")
        finally:
            peers.stop()


@SCENARIOS.add(
    "silent-at-start", "A VM starts among 64 silent peers at the gateway's frame port and 20 at the backup's"
)
def silent_at_start(turn):
    with starting_among(turn, [("gateway", GATEWAY_PORT, 64), ("b", BACKUP_PORT, 20)]) as (pair, _):
        return fails_over_among(pair, "silent peers")


@SCENARIOS.add(
    "slow-peers", "Peers that send a byte a second, 40 at each port, keep neither a start nor a failover up"
)
def slow_peers(turn):
    with starting_among(turn, [("gateway", GATEWAY_PORT, 40, 1), ("b", BACKUP_PORT, 40, 1)]) as (
        pair,
        crowds,
    ):
        # A place is free again when a slow peer's time is over, and so is theirs to take it.
        crowds.append(crowd(pair, "gateway", GATEWAY_PORT, 60, 1))
        return fails_over_among(pair, "peers of a byte a second")


CHURNED = 10_000
CHURN_MIB_MAX = 100


@SCENARIOS.add(
    "churn", f"After {CHURNED:,} client connections the gateway has given their memory and descriptors back"
)
def churn(turn):
    with served(turn, writes=20, every_s=0.05) as (pair, _):
        before, files = pair.gateway.resident_mib(), pair.gateway.descriptors()
        lost = []

        def clients():
            for _ in range(CHURNED // 4):
                try:
                    client = pair.client()
                    if client.ask("PING") != "PONG":
                        lost.append("a wrong answer")
                    client.socket.close()
                except (OSError, RedisError) as error:
                    lost.append(str(error) or type(error).__name__)

        begin = time.monotonic()
        threads = [meanwhile(clients) for _ in range(4)]
        for thread in threads:
            thread.join()
        took = time.monotonic() - begin
        peak = int(pair.gateway.status()["VmHWM"].split()[0]) / 1024
        time.sleep(2)
        after, files_after = pair.gateway.resident_mib(), pair.gateway.descriptors()
        ensure(not lost, f"{len(lost)} of {CHURNED} clients were not served: {lost[:1]}")
        figures = (
            f"{before:.0f} MiB and {files} files before, "
            f"{after:.0f} MiB (at most {peak:.0f}) and {files_after} after {took:.0f} s"
        )
        ensure(after < CHURN_MIB_MAX and peak < CHURN_MIB_MAX, f"the gateway had {figures}")
        ensure(files_after <= files + 8, f"the gateway had {figures}")
        return figures


GREEDY = 3000


@SCENARIOS.add(
    "greedy-client",
    "One client that opens thousands of connections and says nothing does not keep others out",
)
def greedy_client(turn):
    with served(turn) as (pair, ledger):
        greedy, opened = [], 0
        stranger, address = pair.host("stranger"), pair.host("gateway").address
        try:
            failures = 0
            while len(greedy) < GREEDY and failures < 5:
                try:
                    greedy.append(stranger.connect(address, REDIS, timeout=2))
                    failures = 0
                except OSError:
                    failures += 1
            opened = len(greedy)
            refused = 0
            for _ in range(5):
                try:
                    client = Redis(pair.host("client"), address, REDIS, timeout=5)
                    ensure(client.ask("PING") == "PONG", "a client got a wrong answer")
                    client.close()
                except (OSError, RedisError):
                    refused += 1
            ensure(
                not refused,
                f"beside {opened} connections of one source, "
                f"{refused} of 5 others were not served within 5 s",
            )
        finally:
            for connection in greedy:
                connection.close()
        goes_on(ledger, "beside a greedy client")
        return f"beside {opened} connections of one source"
