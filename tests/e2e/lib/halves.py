"""Pairs for tests that break things: each half with flags of its own, signals, events, last words; and a
place that cleans up.

What is started ends with the stack it was started in. `apart` gives a whole program namespaces of its own for
processes and mounts, so that nothing of it is left however it ends.
"""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / "bench"))
import machines  # noqa: E402

INSIDE = "LOCKSTEP_E2E_APART"


def apart():
    """Runs this program again in its own process and mount namespaces, whose end is the end of all that it
    started."""
    if os.environ.get(INSIDE):
        # The first process of a namespace is told nothing that it does not ask for; so asked, it cleans up.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda number, _: sys.exit(128 + number))
        # Names of network namespaces are mounts too: this program's own are seen by nobody else, and end with
        # it.
        pathlib.Path("/run/netns").mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "lockstep-e2e", "/run/netns"], check=True)
        return
    if os.geteuid() != 0:
        raise SystemExit(
            "this test needs root: it mounts a file system or makes network namespaces; run it as root"
        )
    command = "unshare --mount --pid --fork --kill-child --mount-proc --propagation private".split()
    # In a group of its own, so that who interrupts the group does not interrupt what is being tested.
    child = subprocess.Popen(
        [*command, sys.executable, *sys.argv], env={**os.environ, INSIDE: "1"}, process_group=0
    )

    def pass_on(number, _):
        inside = pathlib.Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
        for pid in inside:
            os.kill(int(pid), number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, pass_on)
    raise SystemExit(child.wait())


def use(program):
    """From here on, `program` is the lockstep that everything is done with."""
    if program:
        machines.LOCKSTEP = pathlib.Path(program).resolve()
    if not machines.LOCKSTEP.exists():
        raise SystemExit(
            f"{machines.LOCKSTEP} is missing; run `cargo build --release`, or give `--lockstep FILE`"
        )


def knows(command, flag):
    """Does this lockstep's `command` have such a flag?"""
    return (
        flag in subprocess.run([machines.LOCKSTEP, command, "--help"], capture_output=True, text=True).stdout
    )


def sentences(text):
    """The sentences for an operator in what a process said on standard error; log lines are none."""
    return [line for line in text.splitlines() if line.startswith("lockstep:")]


def silences(name, said, events):
    """What a half whose protection has ended has not told: `said` since the fault began, and all its
    events."""
    missing = []
    if not sentences(said):
        missing.append(f"the {name} said nothing on standard error")
    # Its end is a reason, too, for a half that was stopped while the other went live; another event's
    # sentence is none.
    ends = any(event.get("event") == "halt" and event.get("sentence") for event in events)
    if not ends and not any(
        event.get("suspicion") or event.get("why") or event.get("reason") for event in events
    ):
        missing.append(f"no event of the {name} says why")
    return missing


class Half:
    """One replica: a process with its events and what it says."""

    def __init__(self, stack, role, directory, flags, command=()):
        self.role = role
        self.events_path, self.errors_path = directory / f"{role}.events", directory / f"{role}.errors"
        arguments = [*command, machines.LOCKSTEP, role, *flags, "--events", self.events_path]
        with open(self.errors_path, "w") as errors:
            self.process = machines.start(stack, arguments, stderr=errors)
        self.killed = self.stopped = False
        # Before its own end: a stopped process is killed like any other, but says nothing until then.
        stack.callback(self.go_on)

    @property
    def pid(self):
        return self.process.pid

    def signal(self, number):
        if self.process.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        """SIGKILL, without waiting for the end."""
        self.killed = True
        self.signal(signal.SIGKILL)

    def stop(self):
        self.stopped = True
        self.signal(signal.SIGSTOP)

    def go_on(self):
        if self.stopped:
            self.stopped = False
            self.signal(signal.SIGCONT)

    def ended(self):
        return self.process.poll() is not None

    def events(self, kind=None):
        """What it has reported so far; with `kind`, only those."""
        found = machines.events(self.events_path)
        return [event for event in found if kind is None or event["event"] == kind]

    def role_now(self):
        """The role that it told last."""
        roles = self.events("role")
        return roles[-1]["role"] if roles else "starting"

    def said(self):
        """All its words on standard error."""
        return self.errors_path.read_text(errors="replace")


class Pair:
    """Two halves of one VM. `flags` of the machine; `own` are more flags by role, `commands` what is put in
    front."""

    def __init__(
        self, stack, directory, flags, own=None, commands=None, address=None, timeout_ms=500, start=True
    ):
        self.stack, self.directory, self.halves = stack, directory, {}
        self.own, self.commands = own or {}, commands or {}
        common = machines.pair_flags(directory)
        if address:
            common[common.index("--backup") + 1] = address
        self.flags = [*common, *flags, "--timeout-ms", timeout_ms]
        for role in ["backup", "primary"] if start else []:
            self.start(role)

    def start(self, role):
        flags = [*self.flags, *self.own.get(role, [])]
        self.halves[role] = Half(self.stack, role, self.directory, flags, self.commands.get(role, ()))

    @property
    def primary(self):
        return self.halves["primary"]

    @property
    def backup(self):
        return self.halves["backup"]

    def other(self, half):
        return self.backup if half is self.primary else self.primary

    def wait_until_paired(self, seconds=60):
        """True once both halves have told a role."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if all(half.events("role") for half in self.halves.values()):
                return True
            if any(half.ended() for half in self.halves.values()):
                return False
            time.sleep(0.02)
        return False

    def wait_for_role(self, half, roles, seconds):
        """True once the half has told one of these roles."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if half.role_now() in roles:
                return True
            if half.ended():
                return False
            time.sleep(0.02)
        return False


class Lines:
    """A client that sends lines and gets lines, on one connection that it never opens again."""

    def __init__(self, port, address="127.0.0.1", patience=60, connect=socket.create_connection):
        self.connection = connect((address, port), timeout=patience)
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stream = self.connection.makefile("rb")

    def ask(self, line):
        self.connection.sendall(line.encode() + b"\n")
        answer = self.stream.readline()
        if not answer.endswith(b"\n"):
            raise ConnectionError("the connection was closed")
        return answer.decode().strip()

    def close(self):
        self.stream.close()
        self.connection.close()


def wait_for_port(port, seconds, question, answer, address="127.0.0.1", gone=lambda: False):
    """Waits until somebody behind a forwarded port answers `question` with `answer`, which is bytes; False:
    too late."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not gone():
        try:
            with socket.create_connection((address, port), timeout=2) as probe:
                probe.sendall(question)
                if probe.recv(4096).startswith(answer):
                    return True
        except OSError:
            pass
        time.sleep(0.05)
    return False
