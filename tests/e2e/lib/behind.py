"""A guest behind a gateway, with a shell, in a network of its own: for tests of the gateway with real
programs.

`alone` puts this process into a network namespace with a few addresses and no way out, so that servers of a
test may have any port. `Behind` starts a gateway and one unprotected VM whose guest is an appliance with
Debian's packages; `Behind.shell` runs a command in it. Nothing outlives the `with` block.
"""

import contextlib
import ctypes
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time

from .pair import Failed

CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)
# The shell says this behind a command's output.
DONE = "-- done --"
SHELL, BOOT_PATIENCE_S = 7000, 240
# The guest's addresses, and what it sees the host's loopback as.
GATEWAY, DNS = "10.0.2.2", "10.0.2.3"
SERVICE = f"socat TCP-LISTEN:{SHELL},fork,reuseaddr EXEC:/bin/sh,stderr"


def alone(addresses):
    """Has this process and all that it starts live in a network of their own with these addresses.

    They are one network, so that whoever sends to one of them has the first of them.
    """
    if LIBC.unshare(CLONE_NEWNET) != 0:
        raise SystemExit("this needs root: it makes a network of its own")
    more = [["addr", "add", f"{address}/24", "dev", "lo"] for address in addresses]
    for command in [["link", "set", "lo", "up"], *more]:
        subprocess.run(["ip", *command], check=True)
    # Groups that may ping without privileges, as most distributions set it.
    pathlib.Path("/proc/sys/net/ipv4/ping_group_range").write_text("0 2147483647")


def with_parent():
    """Has the kernel end a child together with this process (PR_SET_PDEATHSIG)."""
    LIBC.prctl(1, signal.SIGKILL)


class Behind:
    """A gateway and a guest. `flags` are the gateway's; `packages` are Debian's, put into the guest."""

    def __init__(self, program, packages, flags=(), keep=False):
        self.program, self.packages, self.flags = pathlib.Path(program).resolve(), packages, list(flags)
        self.stack, self.keep = contextlib.ExitStack(), keep

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            temporary = tempfile.mkdtemp(prefix="lockstep-gateway-")
            self.directory = pathlib.Path(temporary)
            if self.keep:
                print(f"files are in {self.directory}", file=sys.stderr, flush=True)
            else:
                stack.callback(subprocess.run, ["rm", "-rf", temporary])
            self.stack = stack
            files = image(self.program, self.packages)
            place = self.directory / "vm.socket"
            forward = f"127.0.0.1:{SHELL}-:{SHELL}"
            self.gateway = self.start(
                "gateway", [self.program, "gateway", "--listen", place, "--forward", forward, *self.flags]
            )
            until(place.exists, 30, f"the gateway did not start: {self.said('gateway')}")
            names = ("kernel", "initrd", "firmware")
            parts = [word for name in names for word in (f"--{name}", files[name])]
            machine = ["--memory", "512M", "--append", files["append"], "--net", f"gateway={place}"]
            vm = [self.program, "run", *parts, *machine, "--serial", self.directory / "console"]
            self.vm = self.start("vm", vm)
            until(self.is_up, BOOT_PATIENCE_S, f"the guest did not come up: {self.said('vm')}")
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self.stack.close()

    def start(self, name, command, **options):
        """A process that ends with the block; what it says is in the file `name`."""
        with open(self.directory / name, "wb") as said:
            streams = {"stdin": subprocess.DEVNULL, "stdout": said, "stderr": said, "preexec_fn": with_parent}
            process = subprocess.Popen(list(map(str, command)), **(streams | options))
        self.stack.callback(end, process)
        return process

    def said(self, name):
        """What a process has said."""
        return (self.directory / name).read_text(errors="replace").strip()

    def is_up(self):
        with contextlib.suppress(OSError, Failed):
            return self.shell("echo here", 5) == "here"

    def shell(self, command, seconds=60):
        """Runs a command of the guest's shell; what it printed, on both streams."""
        try:
            with socket.create_connection(("127.0.0.1", SHELL), seconds) as connection:
                connection.sendall(f"{command}\necho {DONE}\n".encode())
                heard = ""
                with connection.makefile("r", errors="replace") as output:
                    # What runs on in the guest may hold the connection open, so its end is not waited for.
                    for line in output:
                        heard += line
                        if heard.endswith(f"{DONE}\n"):
                            break
                return heard.removesuffix(f"{DONE}\n").strip()
        except TimeoutError:
            raise Failed(f"in the guest, `{command}` did not end within {seconds} s") from None


def image(program, packages):
    """The files of an appliance with these packages and a shell on a port."""
    words = [word for package in ["socat", *packages] for word in ("--package", package)]
    command = [program, "image", "appliance", "--json", *words, "--run", SERVICE]
    made = subprocess.run(command, stdout=subprocess.PIPE)
    if made.returncode != 0:
        raise SystemExit("the guest's image is missing and could not be made, see above")
    return json.loads(made.stdout)


def until(is_so, seconds, sentence):
    """Waits until something is so."""
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            raise Failed(sentence)
        time.sleep(0.05)


def end(process):
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)
    process.wait()
