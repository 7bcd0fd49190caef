"""Starting machines from outside: images, ports, keys, consoles, gateways and the replicas behind them.

This file is what the benches and the longer tests share, and uses only Python's standard library. Every
process ends with the `with` block, or the ExitStack, in which it was started.
"""

import contextlib
import functools
import json
import os
import pathlib
import re
import select
import socket
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
LOCKSTEP = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release/lockstep"

# Another build of the program, to compare this one with:
# `BEFORE=/path/to/lockstep bench/run --machines pair,before-pair`.
BEFORE = os.environ.get("BEFORE", "")

# The QEMU to compare with: the machine's own unless the environment names another, newer one.
QEMU = os.environ.get("QEMU", "qemu-system-riscv64")


class Failed(SystemExit):
    """A machine did not do what was asked of it; the text says what. Uncaught, it ends the program."""


def build():
    """Builds the program."""
    subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=ROOT, check=True)


def image(kind, *packages):
    """The files of an image, `appliance` or `debian`, made now if the cache has none with these packages."""
    more = [word for package in packages for word in ["--package", package]]
    return image_of(["image", kind, "--json", *more])


def image_of(words):
    """The files of the image that this command of lockstep makes, with `--json` among its words."""
    made = subprocess.run([LOCKSTEP, *words], stdout=subprocess.PIPE)
    if made.returncode != 0:
        raise SystemExit(f"the image of `{' '.join(words)}` is missing and could not be made, see above")
    return json.loads(made.stdout)


def vm_flags(image, memory, append="", disk=None):
    """Flags of `lockstep` for a machine of this image."""
    flags = ["--memory", memory, "--append", f"{image['append']} {append}".strip()]
    for part in ["kernel", "initrd", "firmware"]:
        flags += [f"--{part}", image[part]]
    return [*flags, "--disk", disk] if disk else flags


def pair_flags(directory, key=None, arbiter=None):
    """Makes an arbiter and a key for a pair, those that are not given, and returns the pair's flags."""
    if arbiter is None:
        arbiter = directory / "arbiter"
        arbiter.mkdir()
    if key is None:
        key = directory / "key"
        key.write_text(os.urandom(32).hex())
        key.chmod(0o600)
    return ["--backup", f"127.0.0.1:{free_port()}", "--key", key, "--arbiter", arbiter]


def free_port():
    """A TCP port of this host that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def copy_of(disk, to):
    """A machine's own copy of a disk in the cache, holes and all."""
    subprocess.run(["cp", "--sparse=always", disk, to], check=True)
    return to


def start(stack, command, **options):
    """Starts a program that is killed when `stack` is left. Its streams are closed unless options differ."""
    streams = dict.fromkeys(["stdin", "stdout", "stderr"], subprocess.DEVNULL)
    process = subprocess.Popen([*map(str, command)], **{**streams, **options})
    stack.callback(process.wait)
    stack.callback(process.kill)
    return process


def start_gateway(stack, directory, guest_ports, program=LOCKSTEP, processes=None):
    """Starts a gateway at `directory`/gateway, which is put on the list; {port of the guest: of this host}.

    A port of UDP is named `udp:53`.
    """
    ports = {port: free_port() for port in guest_ports}
    forwards = []
    for inner, outer in ports.items():
        kind, _, number = str(inner).rpartition(":")
        forwards += ["--forward", f"{kind + ':' if kind else ''}127.0.0.1:{outer}-:{number}"]
    gateway = start(stack, [program, "gateway", "--listen", directory / "gateway", *forwards])
    if processes is not None:
        processes.append(gateway)
    while not (directory / "gateway").exists():
        time.sleep(0.01)
    return ports


def events(path):
    """What a replica has reported so far; the last line of one that was killed may be cut off."""
    lines = []
    for line in path.read_text().splitlines() if path.exists() else []:
        with contextlib.suppress(ValueError):
            lines.append(json.loads(line))
    return lines


class Console:
    """A guest's console: what it prints is in `text` until somebody waited for it."""

    def __init__(self, reading, writing):
        self.reading, self.writing, self.text = reading, writing, ""

    @classmethod
    def of_process(cls, process):
        """On the standard streams of a process that was started with pipes."""
        return cls(process.stdout.fileno(), process.stdin.fileno())

    @classmethod
    def at(cls, stack, path):
        """On a Unix socket, as soon as somebody listens there."""
        connection = stack.enter_context(socket.socket(socket.AF_UNIX))
        while True:
            with contextlib.suppress(OSError):
                connection.connect(str(path))
                return cls(connection.fileno(), connection.fileno())
            time.sleep(0.05)

    def read(self, seconds=None):
        """Waits for more text; False: the other end is gone. With `seconds`, an empty wait is no end."""
        if seconds is not None and not select.select([self.reading], [], [], max(seconds, 0))[0]:
            return True
        try:
            piece = os.read(self.reading, 65536)
        except ConnectionResetError:
            piece = b""
        self.text += piece.decode(errors="replace")
        return bool(piece)

    def wait_for(self, pattern, seconds=None):
        """Reads until the pattern is there and returns the match, or None if it came too late.

        The text before the match is forgotten.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        while not (match := re.search(pattern, self.text)):
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return None
            if not self.read(left):
                raise Failed(f"the console ended before {pattern!r}; its last words: {self.text[-1000:]}")
        self.text = self.text[match.end() :]
        return match

    def type(self, line):
        """Types a line at the guest; the line waits on the console until the guest reads it."""
        try:
            os.write(self.writing, f"{line}\n".encode())
        except BrokenPipeError:
            raise Failed(f"the console is gone; its last words: {self.text[-1000:]}") from None


@functools.cache
def figures_flags(program, every_ms=100):
    """The flags with which a replica that writes events writes figures, too.

    Older releases write figures by themselves and have no flag for them.
    """
    text = subprocess.run([program, "primary", "--help"], capture_output=True, text=True, check=True).stdout
    return ["--figures-every", str(every_ms)] if "--figures-every" in text else []


class Site:
    """A directory, a gateway that forwards ports to the guest, and the replicas of that guest behind it."""

    def __init__(self, guest_ports, prefix="lockstep-bench-", loud=False, program=LOCKSTEP):
        """`loud`: what the replicas say of themselves is shown."""
        self.program = program
        self.stack, self.stderr = contextlib.ExitStack(), None if loud else subprocess.DEVNULL
        self.directory = pathlib.Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix=prefix)))
        self.gateways = []
        self.ports = start_gateway(self.stack, self.directory, guest_ports, program, self.gateways)
        self.net = ["--net", f"gateway={self.directory / 'gateway'}"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stack.close()

    def start(self, role, flags):
        """One process of lockstep, with this site's network."""
        return start(self.stack, [self.program, role, *flags, *self.net], stderr=self.stderr)

    def pair(self, flags, serial=False, **given):
        """The guest as a pair, {role: process}; with `serial`, its consoles are sockets named by role.

        `given` is what `pair_flags` need not make.
        """
        common = [*pair_flags(self.directory, **given), *flags]
        halves = {}
        for role in ["backup", "primary"]:
            where = f"unix:{self.directory / role}" if serial else "none"
            own = [
                "--serial",
                where,
                "--events",
                self.directory / f"{role}.events",
                *figures_flags(self.program),
            ]
            halves[role] = self.start(role, [*common, *own])
        return halves

    def figures(self, role):
        """All figures that a replica has reported."""
        return [event for event in events(self.directory / f"{role}.events") if event["event"] == "figures"]


def wait_for_redis(port, seconds=120):
    """Waits until a Redis answers on a port of this host."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
                connection.sendall(b"PING\r\n")
                if connection.recv(16).startswith(b"+PONG"):
                    return
        time.sleep(0.05)
    raise Failed(f"no Redis answered within {seconds} s")


def postgres(port, program, *arguments, **options):
    """Runs one of PostgreSQL's client programs on the database of the image."""
    where = ["-h", "127.0.0.1", "-p", str(port), "-U", "bench"]
    return subprocess.run([program, *where, *arguments, "bench"], text=True, capture_output=True, **options)


def wait_for_postgres(port, seconds=300):
    """Waits until a PostgreSQL answers on a port of this host."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(subprocess.TimeoutExpired):
            if postgres(port, "psql", "-c", "select 1", timeout=20).returncode == 0:
                return
        time.sleep(0.2)
    raise Failed(f"no PostgreSQL answered within {seconds} s")
