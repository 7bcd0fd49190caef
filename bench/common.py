"""What the benches share: the appliance image, machines with their console on a pipe, pairs behind a gateway.

Only Python's standard library. Everything a bench starts ends with it.
"""

import contextlib
import json
import os
import pathlib
import re
import socket
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
LOCKSTEP = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release/lockstep"
MEMORY = "512M"


def build():
    """Builds the program, and the image if there is none. Returns the image's files."""
    subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=ROOT, check=True)
    image = subprocess.run([LOCKSTEP, "image", "appliance", "--json"], check=True, stdout=subprocess.PIPE)
    return json.loads(image.stdout)


def vm_flags(image, append=""):
    """Flags of `lockstep` for a machine of this image."""
    flags = ["--memory", MEMORY, "--append", f"{image['append']} {append}".strip()]
    for part in ["kernel", "initrd", "firmware"]:
        flags += [f"--{part}", image[part]]
    return flags


def qemu(image, append=""):
    """The command that runs the same machine under QEMU's TCG, with a console on its standard streams."""
    return [
        "qemu-system-riscv64", "-M", "virt", "-cpu", "rv64,v=false,h=false,zba=false,zbb=false,zbc=false,zbs=false",
        "-accel", "tcg,thread=single", "-m", MEMORY, "-nographic", "-monitor", "none", "-serial", "stdio",
        "-global", "virtio-mmio.force-legacy=false", "-device", "virtio-rng-device",
        "-kernel", image["kernel"], "-initrd", image["initrd"], "-bios", image["firmware"],
        "-append", f"{image['append']} {append}".strip(),
    ]  # fmt: skip


class Console:
    """A machine with its console on its standard streams."""

    def __init__(self, command):
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
        )
        self.text = b""

    def wait_for(self, pattern):
        """Reads until the pattern is there; returns the match. What came before it is forgotten."""
        while not (match := re.search(pattern, self.text)):
            piece = os.read(self.process.stdout.fileno(), 65536)
            if not piece:
                raise SystemExit(f"the machine has ended:\n{self.text.decode(errors='replace')}")
            self.text += piece
        self.text = self.text[match.end() :]
        return match

    def end(self):
        self.process.kill()
        self.process.wait()


class Pair(Console):
    """The primary of a pair, with its console on its standard streams, and its backup."""

    def __init__(self, flags, directory):
        common = [*pair_flags(directory), *flags]
        self.backup = subprocess.Popen(
            [LOCKSTEP, "backup", *common], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.events = directory / "events"
        super().__init__([LOCKSTEP, "primary", *common, "--events", self.events])

    def end(self):
        self.backup.kill()
        self.backup.wait()
        super().end()


class Site:
    """A directory, a gateway that forwards a port to the guest's Redis, and the replicas behind it."""

    def __init__(self, image):
        self.image = image
        self.stack = contextlib.ExitStack()
        self.directory = pathlib.Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="lockstep-bench-")))
        self.port = free_port()
        self.start(["gateway", "--listen", self.directory / "gateway", "--forward", f"127.0.0.1:{self.port}-:6379"])
        while not (self.directory / "gateway").exists():
            time.sleep(0.01)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stack.close()

    def start(self, arguments):
        process = subprocess.Popen(
            [LOCKSTEP, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.stack.callback(process.wait)
        self.stack.callback(process.kill)
        return process

    def machine(self):
        """The flags of this site's guest."""
        net = ["--net", f"gateway={self.directory / 'gateway'}", "--serial", "none"]
        return vm_flags(self.image) + net

    def run(self):
        """The guest alone."""
        return self.start(["run", *self.machine()])

    def record(self):
        """The guest alone, with its log on disk."""
        return self.start(["record", *self.machine(), "-o", self.directory / "log"])

    def pair(self):
        """The guest as a pair: (primary, backup)."""
        common = [*pair_flags(self.directory), *self.machine()]
        halves = [
            self.start([role, *common, "--events", self.directory / f"{role}.events"]) for role in ["backup", "primary"]
        ]
        return halves[1], halves[0]

    def wait_for_redis(self):
        while True:
            with contextlib.suppress(OSError):
                with socket.create_connection(("127.0.0.1", self.port)) as connection:
                    connection.sendall(b"PING\r\n")
                    if connection.recv(16).startswith(b"+PONG"):
                        return
            time.sleep(0.05)

    def figures(self, role):
        """The replica's latest figures; `None`: none yet."""
        last = None
        for line in (self.directory / f"{role}.events").read_text().splitlines():
            with contextlib.suppress(ValueError):
                event = json.loads(line)
                last = event if event["event"] == "figures" else last
        return last


def pair_flags(directory):
    """Makes a key and an arbiter for a pair; its flags."""
    (directory / "arbiter").mkdir()
    key = directory / "key"
    key.write_text(os.urandom(32).hex())
    key.chmod(0o600)
    return ["--backup", f"127.0.0.1:{free_port()}", "--key", key, "--arbiter", directory / "arbiter"]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def median(values):
    return sorted(values)[len(values) // 2]
