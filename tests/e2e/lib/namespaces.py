"""A site of hosts on one machine: network namespaces on a common switch, whose cables can be cut, slowed and
made lossy.

Needs root, `ip` (iproute2), `nft` (nftables) and, for delays, /dev/net/tun. Everything that is made ends with
the `with` block; what an earlier run left because it was killed is swept away when the next one begins.

    with Network(["client", "a", "b"]) as network:
        network.host("a").run(["ping", "-c", "1", network.host("b").address])
        # In both directions; the kernel ends the cut by itself, to the millisecond.
        network.cut("a", "b", ms=300)

Faults are in the switch's namespace, so that neither end's kernel knows of them: a packet that its own host
drops would be an error of the sender's socket, and TCP would not back off.
"""

import contextlib
import ctypes
import fcntl
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import threading
import time

from .relay import Relay

# Names of the kernel's interfaces have at most 15 characters, so all names are short.
PREFIX = "lsh"
NETNS = pathlib.Path("/run/netns")
CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)

# `cuts` and `lossy` are looked up for each packet by source and destination. An element of `cuts` may have an
# end.
RULES = """
table bridge lsh {
    set cuts { type ipv4_addr . ipv4_addr; flags timeout; }
    set lossy { type ipv4_addr . ipv4_addr; }
    chain forward {
        type filter hook forward priority 0;
        ip saddr . ip daddr @cuts drop
    }
}
"""


class Missing(SystemExit):
    """This machine cannot do what the test needs; the text says what."""


def run(command, check=True, **options):
    """Runs a short command and returns what it printed."""
    done = subprocess.run([*map(str, command)], text=True, capture_output=True, **options)
    if check and done.returncode != 0:
        raise RuntimeError(f"`{' '.join(map(str, command))}` failed: {done.stderr.strip()}")
    return done.stdout


def require():
    """Ends the program with a sentence if this machine cannot make namespaces."""
    if os.geteuid() != 0:
        raise Missing("network namespaces need root; run this as root")
    for program, package in [("ip", "iproute2"), ("nft", "nftables")]:
        if subprocess.run(["sh", "-c", f"command -v {program}"], capture_output=True).returncode != 0:
            raise Missing(f"`{program}` is missing; install {package}")


def sweep():
    """Removes the namespaces of runs whose process is gone, and what still runs in them."""
    for name in os.listdir(NETNS) if NETNS.exists() else []:
        owner = re.fullmatch(PREFIX + r"(\d+)-\w+", name)
        if owner and not os.path.exists(f"/proc/{owner[1]}"):
            remove(name)


def remove(name):
    """Removes a namespace with all processes in it."""
    for _ in range(50):
        processes = run(["ip", "netns", "pids", name], check=False).split()
        for process in processes:
            # A process of ours that somebody has stopped dies of SIGKILL all the same.
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(process), signal.SIGKILL)
        if not processes:
            break
        time.sleep(0.02)
    run(["ip", "netns", "del", name], check=False)


class Host:
    """One host: a network namespace with one address. Sockets made here stay here, whoever uses them."""

    def __init__(self, network, name, number):
        self.network, self.name = network, name
        self.namespace = f"{PREFIX}{os.getpid()}-{name}"
        self.address = f"10.99.0.{number}"
        self.port_of_switch, self.second_port = f"p{number}", f"q{number}"

    @contextlib.contextmanager
    def entered(self):
        """The calling thread is in this host's network until the end of the block."""
        with open("/proc/thread-self/ns/net") as before, open(NETNS / self.namespace) as there:
            enter(there)
            try:
                yield
            finally:
                enter(before)

    def connect(self, address, port, timeout=5, source_port=0):
        """A TCP connection from this host, without delay of small segments."""
        with self.entered():
            connection = socket.socket()
        try:
            connection.settimeout(timeout)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if source_port:
                connection.bind((self.address, source_port))
            connection.connect((address, port))
        except OSError:
            connection.close()
            raise
        return connection

    def listen(self, port, address=None, backlog=64):
        """A listening TCP socket on this host."""
        with self.entered():
            listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((self.address if address is None else address, port))
        listener.listen(backlog)
        return listener

    def sniffer(self):
        """A socket that sees each frame that this host sends or gets."""
        with self.entered():
            sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        sniffer.bind(("eth0", 0))
        sniffer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 20)
        return sniffer

    def command(self, command):
        """The command line that runs `command` on this host, as the very process that is started."""
        return ["ip", "netns", "exec", self.namespace, *map(str, command)]

    def run(self, command, **options):
        """Runs a short command on this host and returns what it printed."""
        return run(self.command(command), **options)

    def start(self, command, **options):
        """Starts a program on this host; it is killed with the network."""
        streams = dict.fromkeys(["stdin", "stdout", "stderr"], subprocess.DEVNULL)
        process = subprocess.Popen(self.command(command), **{**streams, **options})
        self.network.processes.append(process)
        return process

    def unplug(self):
        """Pulls the cable at the switch: this host's card loses its carrier."""
        self.network.on_switch(["ip", "link", "set", self.port_of_switch, "down"])

    def plug(self):
        """Puts the cable back."""
        self.network.on_switch(["ip", "link", "set", self.port_of_switch, "up"])

    def second_cable(self):
        """A second card, eth1, without an address, with a cable of its own to the switch."""
        port = ["ip", "link", "add", self.second_port, "type", "veth", "peer"]
        self.network.on_switch([*port, "name", "eth1", "netns", self.namespace])
        self.network.on_switch(["ip", "link", "set", self.second_port, "master", "br0", "up"])

    def second_plug(self, state):
        """Sets the second cable `up` or `down`, at the switch: the card eth1 then loses its carrier."""
        self.network.on_switch(["ip", "link", "set", self.second_port, state])


class Network:
    """Hosts on a switch. `far` hosts are behind a relay whose delay can be set while everything runs."""

    def __init__(self, names, far=()):
        self.names, self.far = list(names), set(far)
        self.hosts, self.relays, self.processes = {}, {}, []
        # What is cut: its end, or None.
        self.cuts = {}
        self.stack = contextlib.ExitStack()
        self.switch = f"{PREFIX}{os.getpid()}-switch"

    def __enter__(self):
        sweep()
        try:
            self._build()
        except BaseException:
            self.stack.close()
            raise
        return self

    def __exit__(self, *_):
        self.stack.close()

    def _build(self):
        # Called last: the processes, when their namespaces are gone with all that runs in them.
        self.stack.callback(self._reap)
        self._namespace(self.switch)
        self.on_switch(["ip", "link", "add", "br0", "type", "bridge", "forward_delay", "0"])
        self.on_switch(["ip", "link", "set", "br0", "up"])
        for number, name in enumerate(self.names, start=2):
            host = self.hosts[name] = Host(self, name, number)
            self._namespace(host.namespace)
            wire = self._long_wire if name in self.far else self._wire
            wire(host)
            self.on_switch(["ip", "link", "set", host.port_of_switch, "master", "br0", "up"])
            host.run(["ip", "address", "add", f"{host.address}/24", "dev", "eth0"])
            host.run(["ip", "link", "set", "eth0", "up"])
            host.run(["ip", "link", "set", "lo", "up"])
        self.rules(RULES)

    def _namespace(self, name):
        self.stack.callback(remove, name)
        run(["ip", "netns", "add", name])

    def _wire(self, host):
        # Made in the switch's namespace and one end sent away: the machine's own network sees neither.
        port = host.port_of_switch
        self.on_switch(
            ["ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", host.namespace]
        )

    def _long_wire(self, host):
        # The cards are made by the thread that is there, so they need not be moved.
        ends = []
        for namespace, name in [(self.switch, host.port_of_switch), (host.namespace, "eth0")]:
            with open("/proc/thread-self/ns/net") as before, open(NETNS / namespace) as there:
                enter(there)
                try:
                    ends.append(tap(name))
                finally:
                    enter(before)
        relay = self.relays[host.name] = Relay(*ends)
        self.stack.callback(relay.stop)

    def _reap(self):
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()

    def host(self, name):
        """The host of that name."""
        return self.hosts[name]

    def on_switch(self, command):
        """Runs a command in the switch's namespace."""
        return run(["ip", "netns", "exec", self.switch, *command])

    def rules(self, text):
        """Gives the switch's packet filter a script, which takes effect as a whole."""
        return run(["ip", "netns", "exec", self.switch, "nft", "-f", "-"], input=text)

    def _pairs(self, one, other, both_ways):
        there, back = self.hosts[one].address, self.hosts[other].address
        return [f"{there} . {back}", *([f"{back} . {there}"] if both_ways else [])]

    def cut(self, one, other, ms=None, both_ways=True):
        """Drops what `one` sends to `other` (and back), for `ms` milliseconds or until `heal`; when that was
        in force."""
        return self._drop(self._pairs(one, other, both_ways), ms)

    def isolate(self, name, ms=None):
        """The same for all that this host sends or gets, until `join`. Its card keeps its carrier."""
        return self._drop(
            [pair for other in self.names if other != name for pair in self._pairs(name, other, True)], ms
        )

    def join(self, name):
        """Ends `isolate` and each `cut` of this host."""
        for other in self.names:
            if other != name:
                self.heal(name, other)

    def heal(self, one, other):
        """Ends a cut between two hosts."""
        pairs = [pair for pair in self._pairs(one, other, True) if pair in self.cuts]
        for pair in pairs:
            end = self.cuts.pop(pair)
            # One with an end may just have ended by itself.
            with contextlib.suppress(*([RuntimeError] if end else [])):
                self.rules(f"delete element bridge lsh cuts {{ {pair} }}")

    def _drop(self, pairs, ms):
        now = time.monotonic()
        # An element that is still there would keep its old end.
        old = [
            f"delete element bridge lsh cuts {{ {pair} }}"
            for pair in pairs
            if self.cuts.get(pair, now) is None
        ]
        end = f" timeout {ms}ms" if ms is not None else ""
        self.rules(
            "\n".join([*old, f"add element bridge lsh cuts {{ {', '.join(pair + end for pair in pairs)} }}"])
        )
        begin = time.monotonic()
        self.cuts |= dict.fromkeys(pairs, None if ms is None else begin + ms / 1000)
        return begin

    def heal_all(self):
        """Ends all cuts and losses and plugs in all cables."""
        self.rules("flush set bridge lsh cuts; flush set bridge lsh lossy")
        self.cuts.clear()
        for host in self.hosts.values():
            host.plug()

    def lose(self, one, other, permille):
        """Drops packets between two hosts at random, in both directions, until `heal_all`."""
        elements = ", ".join(self._pairs(one, other, True))
        self.rules(
            "flush chain bridge lsh forward\n"
            "add rule bridge lsh forward ip saddr . ip daddr @cuts drop\n"
            "add rule bridge lsh forward ip saddr . ip daddr @lossy "
            f"numgen random mod 1000 < {permille} drop\n"
            f"add element bridge lsh lossy {{ {elements} }}"
        )

    def delay(self, name, ms, jitter_ms=0):
        """Makes each packet from and to a far host take `ms` milliseconds: a round trip takes twice that.
        With `jitter_ms` each takes up to so much longer, and packets overtake one another."""
        self.relays[name].delay(ms / 1000, jitter_ms / 1000)

    def count_calls(self, source, destination, port):
        """Begins to count the connections that `source` tries to open; a function that tells how many so
        far."""
        name = f"calls{next(self._numbers)}"
        there, back = self.hosts[source].address, self.hosts[destination].address
        self.rules(
            f"add counter bridge lsh {name}\n"
            f"insert rule bridge lsh forward ip saddr {there} ip daddr {back} tcp dport {port} "
            f"tcp flags & (syn | ack) == syn counter name {name}"
        )

        def so_far():
            text = self.on_switch(["nft", "list", "counter", "bridge", "lsh", name])
            return int(re.search(r"packets (\d+)", text)[1])

        return so_far

    _numbers = iter(range(1 << 30))


def enter(namespace):
    """Moves the calling thread into a network namespace, an open file."""
    if LIBC.setns(namespace.fileno(), CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "cannot enter a network namespace")


def tap(name):
    """A new Ethernet card in the calling thread's namespace that is a file."""
    set_interface, tap_without_header = 0x400454CA, 0x0002 | 0x1000
    card = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(card, set_interface, struct.pack("16sH22x", name.encode(), tap_without_header))
    return card


def meanwhile(work, *arguments):
    """Runs `work` in a thread; the thread."""
    thread = threading.Thread(target=work, args=arguments, daemon=True)
    thread.start()
    return thread
