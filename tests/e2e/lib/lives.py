"""A VM that lives in one process after the other: what starts them, what each has told, and what must be true
of all of them in the end.

Hosts are processes on this one. Three things are never to be seen, whatever died when: two processes live at
one time, a live process that does not own the newest epoch at the arbiter, and a divergence. `Vm.check` looks
for them in all event files and in the arbiter's records.
"""

import contextlib
import json
import os
import re
import socket
import subprocess
import time

from .halves import machines

NAME = "web"
PATIENCE_S = 180
TRIES = 5
LIVE = ("solo", "primary")


class Failed(Exception):
    """The thing under test did not do what it should."""


def until(what, done, seconds=PATIENCE_S, every_s=0.005):
    """Waits until `done` gives something, and gives it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := done():
            return found
        time.sleep(every_s)
    raise Failed(f"never: {what}")


def boot_ns():
    """Now, by the clock of events' `time_ns`."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Debian:
    """A full Debian with PostgreSQL on a disk that both hosts reach."""

    service, memory = 5432, "1G"

    def __init__(self, directory):
        files = machines.image("debian")
        self.disk = machines.copy_of(files["disk"], directory / "disk.raw")
        self.flags = machines.vm_flags(files, self.memory, disk=self.disk)

    @staticmethod
    def serial(path):
        return f"unix:{path}"

    def switch_off(self, vm, process):
        """As a person would, at the console; the disk must be whole then."""
        console = machines.Console.at(vm.stack, process.console)
        console.type("")
        console.wait_for("login: ")
        console.type("root")
        console.wait_for("# ")
        console.type("poweroff")
        with contextlib.suppress(OSError):
            while console.read():
                pass
        process.is_off()
        fsck = subprocess.run(["/sbin/fsck.ext4", "-fn", self.disk], text=True, capture_output=True)
        if fsck.returncode != 0:
            raise Failed(f"fsck -fn ends with {fsck.returncode}: {fsck.stdout}{fsck.stderr}")
        return "switched off at its console, fsck -fn finds nothing"


class Appliance:
    """Redis in an initramfs: no disk, up in seconds, off when Redis ends."""

    service, memory, disk = 6379, "256M", None

    def __init__(self, directory):
        self.flags = machines.vm_flags(machines.image("appliance"), self.memory)

    @staticmethod
    def serial(path):
        return "none"

    def switch_off(self, vm, process):
        with contextlib.suppress(OSError):
            with socket.create_connection(("127.0.0.1", vm.port), timeout=PATIENCE_S) as link:
                link.sendall(b"SHUTDOWN NOSAVE\r\n")
                link.recv(100)
        process.is_off()
        return "switched off by its service"


GUESTS = {"debian": Debian, "appliance": Appliance}


class Process:
    """One process of the VM: its events, its words, its end."""

    def __init__(self, vm, name, words):
        self.name, self.console = name, vm.directory / f"{name}.console"
        self.path, self.errors = vm.directory / f"{name}.events", vm.directory / f"{name}.stderr"
        flags = ["--serial", vm.guest.serial(self.console), "--events", self.path]
        command = [machines.LOCKSTEP, *words, *flags, "--figures-every", "500"]
        with open(self.errors, "wb") as errors:
            self.child = machines.start(vm.stack, command, stdout=errors, stderr=errors, env=vm.env())
        self.killed_ns = None
        self._read, self._events = 0, []

    @property
    def pid(self):
        return self.child.pid

    def events(self, kind=None):
        """All its events so far; with `kind`, only these."""
        with contextlib.suppress(FileNotFoundError), open(self.path, "rb") as file:
            file.seek(self._read)
            # The end of the last line may not have come, and never comes of one that was killed.
            whole, end, _ = file.read().rpartition(b"\n")
            self._read += len(whole + end)
            self._events += [json.loads(line) for line in whole.splitlines()]
        return [event for event in self._events if kind in (None, event["event"])]

    def said(self):
        """What it has written to its standard error."""
        return self.errors.read_text(errors="replace")

    def has_been(self, role):
        return any(event["role"] == role for event in self.events("role"))

    def kill(self):
        """SIGKILL, and waits for the end."""
        self.killed_ns = boot_ns()
        self.child.kill()
        self.child.wait()

    def is_off(self):
        """Waits for the end of a process whose guest was switched off."""
        self.child.wait(PATIENCE_S)
        code = [event["code"] for event in self.events("halt")]
        if self.child.returncode != 0 or code != ["off"]:
            raise Failed(f"{self.name} ends with {self.child.returncode} {code}: {self.said()}")

    def digests_compared(self):
        """How many it has found equal while it followed; a few more than it had time to tell."""
        told = [event["digests"] for event in self.events("figures") if event["role"] not in LIVE]
        return max(told, default=0)

    def live(self):
        """From when to when it was live, in ns. It was so at least until it was killed."""
        begin, spans = None, []
        for event in self.events():
            is_live = event["event"] == "role" and event["role"] in LIVE
            if is_live and begin is None:
                begin = event["time_ns"]
            elif begin and not is_live and event["event"] in ("role", "halt"):
                spans.append((begin, event["time_ns"]))
                begin = None
        if begin is not None:
            spans.append((begin, self.killed_ns or boot_ns()))
        return spans


class Vm:
    """A directory with an arbiter and a key, the gateway, and the processes of the VM's lives."""

    def __init__(self, stack, directory, guest, timeout_ms):
        self.stack, self.directory, self.timeout_ms = stack, directory, timeout_ms
        # All that there ever were, and how many clones came to nothing of themselves.
        self.processes, self.clones_failed = [], 0
        self.arbiter, self.key = directory / "arbiter", directory / "key"
        self.arbiter.mkdir()
        self.key.touch(0o600)
        self.key.write_text("5a" * 32)
        self.guest = GUESTS[guest](directory)
        self.port, gateway = machines.free_port(), machines.free_port()
        words = ["gateway", "--listen", f"127.0.0.1:{gateway}", "--key", self.key, "--forward"]
        words += [f"127.0.0.1:{self.port}-:{self.guest.service}", "--ends-with", str(os.getpid())]
        with open(directory / "gateway.stderr", "wb") as errors:
            machines.start(stack, [machines.LOCKSTEP, *words], stdout=errors, stderr=errors, env=self.env())
        # What every process that starts the VM is given, on whatever host.
        self.flags = [*self.guest.flags, "--name", NAME, "--arbiter", self.arbiter, "--key", self.key]
        self.flags += ["--net", f"gateway=127.0.0.1:{gateway}"]

    def env(self, runtime=None):
        """The environment: sockets and locks are this test's own, or another host's."""
        return {**os.environ, "XDG_RUNTIME_DIR": str(runtime or self.directory)}

    def start(self, *words):
        process = Process(self, f"life{len(self.processes)}", words)
        self.processes.append(process)
        return process

    def run(self):
        """`lockstep run`: the VM's first process, or its first after it died."""
        return self.start("run", *self.flags)

    def waits(self, *flags):
        """`lockstep backup --listen`, once it listens."""
        words = ["--listen", "127.0.0.1:0", "--key", self.key, "--timeout-ms", str(self.timeout_ms)]
        process = self.start("backup", *words, *flags)
        found = until("it listens", lambda: re.search(r"waiting for the primary on (\S+)", process.said()))
        process.address = found[1]
        return process

    def tell(self, *words):
        """A command that must succeed; what it prints."""
        command = [machines.LOCKSTEP, *map(str, words)]
        options = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True}
        done = subprocess.run(command, env=self.env(), **options)
        if done.returncode != 0:
            said = done.stderr.strip()
            raise Failed(f"`lockstep {' '.join(command[1:])}` ends with {done.returncode}: {said}")
        return done.stdout

    def statuses(self):
        """What the VM's processes say of themselves."""
        words = [machines.LOCKSTEP, "status", NAME, "--json"]
        text = subprocess.run(words, capture_output=True, text=True, env=self.env()).stdout
        return [json.loads(line) for line in text.splitlines()]

    def protect(self, owner, waiting):
        """Makes a process that waits the backup of the guest in `owner`, until both know it. A clone may come
        to nothing on a machine that has too much to do: then another process is started. Gives the backup."""
        for _ in range(TRIES):
            # The command may hear nothing for too long while the clone goes on.
            with contextlib.suppress(Failed):
                self.tell("protect", NAME, "--to", waiting.address)
            until(
                "the clone is over",
                lambda: waiting.has_been("backup") or self.came_to_nothing(owner, waiting),
            )
            if waiting.has_been("backup"):
                until("the owner knows its backup", lambda: self.told(owner, "protected", waiting))
                return waiting
            self.clones_failed += 1
            waiting = self.waits()
        raise Failed(f"{TRIES} clones came to nothing")

    @staticmethod
    def told(owner, kind, copy):
        """What an owner has told of that kind about a copy."""
        return [event for event in owner.events(kind) if event["peer"] == copy.address]

    def came_to_nothing(self, owner, copy):
        """Is the clone over, or was none begun?"""
        if owner.child.poll() is not None:
            raise Failed(f"{owner.name} has ended")
        is_begun = self.told(owner, "cloning", copy)
        return self.told(owner, "clone-failed", copy) or copy.child.poll() is not None or not is_begun

    def records(self):
        """The arbiter's claims, by epoch."""
        found = {}
        for path in self.arbiter.glob(f"{NAME}.*.claim"):
            lines = [line.partition(" ") for line in path.read_text().splitlines()[1:]]
            record = {word: value for word, _, value in lines}
            found[int(record["epoch"])] = record
        return found

    def check(self):
        """Raises `Failed` unless at most one process was live at any time, each by the arbiter's word, and
        none has diverged. Gives figures."""
        spans = sorted((begin, end, one) for one in self.processes for begin, end in one.live())
        for (_, end, first), (begin, _, second) in zip(spans, spans[1:]):
            if begin < end:
                both = (end - begin) / 1e6
                raise Failed(f"{first.name} and {second.name} were both live for {both:.3f} ms")
        records = self.records()
        if sorted(records) != list(range(1, len(records) + 1)):
            raise Failed(f"the arbiter has the epochs {sorted(records)}")
        own = {str(process.pid) for process in self.processes}
        strangers = [epoch for epoch, record in records.items() if record["pid"] not in own]
        if strangers:
            raise Failed(f"somebody else has claimed the epochs {strangers}")
        for process in self.processes:
            self.check_process(process, records)
        return {
            "processes": len(self.processes),
            "clones_failed": self.clones_failed,
            "live": len(spans),
            "epochs": len(records),
            "digests_compared": sum(one.digests_compared() for one in self.processes),
        }

    @staticmethod
    def check_process(process, records):
        for event in process.events():
            if event["event"] == "role" and event["role"] in LIVE and event["epoch"]:
                owner = records.get(event["epoch"], {}).get("pid")
                if owner != str(process.pid):
                    raise Failed(
                        f"{process.name} (pid {process.pid}) is live in epoch {event['epoch']} of {owner}"
                    )
            if not re.fullmatch(r"\S+:\d+", event.get("peer", "127.0.0.1:1")):
                raise Failed(f"{process.name} tells of a peer without its address: {event}")
            words = [event.get(word) for word in ("suspicion", "why", "code")]
            if "diverged" in words:
                raise Failed(f"{process.name} tells of a divergence: {event}")
        if "panicked at" in process.said():
            raise Failed(f"{process.name} has panicked: {process.said()}")

    def story(self):
        """The last words of the last processes, for whoever looks for a failure's cause."""
        return "".join(
            f"--- {one.name} (pid {one.pid}, ended with {one.child.poll()})\n{one.said()}"
            for one in self.processes[-3:]
        )
