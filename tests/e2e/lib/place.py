"""`Place`: a host of a site of agents, with its agent, the processes of its VMs, and what it sees of the
site's shared storage.

Each place has a network, a mount table, a name, a machine's number and a boot of its own. So its agent and
its VMs cannot tell it from a computer: the boot's number is another one after `boot`, as after a loss of
power, and the number of a dead process of another place means nothing here.

The shared storage is a directory that each place has bound to the same path in its own mount table.
`lose_storage` lays something over it, `regain_storage` takes that away again, for this place alone. With
`Site(served=True)` it is a mount of a file server of the place's own (`lossyfs.py`) instead, which may fall
silent: then whoever touches the storage waits, as with a file server that is cut off.
"""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid

from .namespaces import run
from .pair import Failed

AGENT_PORT = 7701
# What an agent does at once takes far less, also on a busy machine.
COMMAND_S = 120
# An agent that has not said within this time how things are does not answer.
ANSWER_S = 20
# An agent that is asked to end does so at once; the VMs run on without it.
AGENT_ENDS_S = 30
# Exit codes of commands that an agent has answered: all is well, not all is as it is wanted, no host will do.
ANSWERED = (0, 3, 4)


class Place:
    """A host. `wire` is its `namespaces.Host`; `directory` has its files, which no other place reads."""

    def __init__(self, site, name, wire, directory):
        self.site, self.name, self.wire, self.directory = site, name, wire, directory
        self.address = wire.address
        self.run_dir, self.state_dir = directory / "run", directory / "state"
        self.sockets = self.run_dir / "lockstep"
        self.config = directory / "agent.toml"
        self.key = directory / "site.key"
        # What is installed here.
        self.program = site.program
        self.agent = self.holder = self.server = None
        self.is_on = False
        self.lost_storage = 0
        for path in (self.run_dir, self.state_dir):
            path.mkdir(parents=True)
        (directory / "machine-id").write_text(uuid.uuid4().hex + "\n")

    @property
    def shared(self):
        """The shared storage, as this host sees it."""
        return self.site.shared

    # The computer.

    def build(self):
        """Makes its namespaces, its bridge and a tap for each VM."""
        self._new_boot()
        bind = "true" if self.site.served else f"mount --bind {self.site.storage} {self.site.shared}"
        # /sys tells of the network in which it was mounted.
        script = (
            f"hostname {self.name} && {bind} && mount -t sysfs sysfs /sys && "
            f"mount --bind {self.directory}/boot-id /proc/sys/kernel/random/boot_id && "
            f"mount --bind {self.directory}/machine-id /etc/machine-id && echo up && exec sleep infinity"
        )
        network = f"--net=/run/netns/{self.wire.namespace}"
        command = ["nsenter", network, "unshare", "--mount", "--uts", "--propagation", "private", "sh", "-c"]
        self.holder = subprocess.Popen([*command, script], stdout=subprocess.PIPE, text=True)
        if self.holder.stdout.readline() != "up\n":
            raise RuntimeError(f"the host {self.name} could not be made")
        for words in (
            "link add br0 type bridge forward_delay 0",
            "addr flush dev eth0",
            "link set eth0 master br0",
            f"addr add {self.address}/24 dev br0",
            "link set br0 up",
        ):
            self.run(["ip", *words.split()])
        bridge = self._bridge_of_guests()
        for vm in self.site.vms:
            for words in (f"tuntap add {vm} mode tap", f"link set {vm} master {bridge} up"):
                self.run(["ip", *words.split()])
        if self.site.served:
            self._serve_storage()
        self.is_on = True

    def _bridge_of_guests(self):
        if self.site.behind != "uplink":
            return "br0"
        # A second card, whose cable carries nothing but the guests' frames. A plain end of a pair is taken to
        # lead into a container, and no uplink; one that rests on another interface is one.
        self.wire.second_cable()
        for words in (
            "link add br1 type bridge forward_delay 0",
            "link set eth1 up",
            "link add uplink link eth1 type macvlan mode passthru",
            "link set uplink master br1 up",
            "link set br1 up",
        ):
            self.run(["ip", *words.split()])
        # The host's own address is that of the other bridge: no other card answers for it.
        self.run(["sh", "-c", "echo 1 > /proc/sys/net/ipv4/conf/all/arp_ignore"])
        return "br1"

    @property
    def port_of_guests(self):
        """The switch's port at which the guests' frames come in."""
        return self.wire.second_port if self.site.behind == "uplink" else self.wire.port_of_switch

    def tap(self, state, vm):
        """Sets a VM's tap `up` or `down`: one that is down has no carrier."""
        self.run(["ip", "link", "set", vm, state])

    @property
    def writes(self):
        """The file in which this host's file server notes each write: when it was, and the inode."""
        return self.directory / "storage-writes"

    def _serve_storage(self):
        file_system = pathlib.Path(__file__).with_name("lossyfs.py")
        words = [self.site.storage, self.site.shared, self.directory / "storage-statistics", "--no-cache"]
        words += ["--sync-ms", "1", "--writes", self.writes]
        quiet = {"stdout": subprocess.DEVNULL, "stdin": subprocess.DEVNULL}
        self.server = subprocess.Popen(self.command([sys.executable, file_system, *words]), **quiet)
        is_mounted = ["mountpoint", "-q", self.site.shared]
        deadline = time.monotonic() + 20
        while subprocess.run(self.command(is_mounted)).returncode != 0:
            if time.monotonic() > deadline:
                raise RuntimeError(f"the file server of {self.name} does not serve")
            time.sleep(0.05)

    def release(self):
        """Its namespaces end."""
        for process in (self.server, self.holder):
            if process:
                end(process)

    def _new_boot(self):
        # The file stays the same one, since it is bound.
        (self.directory / "boot-id").write_text(f"{uuid.uuid4()}\n")

    def command(self, words):
        """The command line that runs `words` on this host, as the very process that is started."""
        enter = ["nsenter", "--target", str(self.holder.pid), "--net", "--mount", "--uts"]
        return [*enter, *map(str, words)]

    def run(self, words, **options):
        """Runs a short command there and returns what it printed."""
        return run(self.command(words), **options)

    def pids(self):
        """All processes of this host."""
        listed = run(["ip", "netns", "pids", self.wire.namespace], check=False).split()
        apart = [process.pid for process in (self.holder, self.server) if process]
        return [int(pid) for pid in listed if int(pid) not in apart]

    def signal(self, number):
        """Sends a signal to all processes of this host."""
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def crash(self):
        """The host loses power: its cable is dead, and everything on it ends without a word."""
        self.wire.unplug()
        deadline = time.monotonic() + 10
        while self.pids() and time.monotonic() < deadline:
            self.signal(signal.SIGKILL)
            self._reap()
            time.sleep(0.02)
        if self.agent:
            end(self.agent)
        self.agent, self.is_on = None, False

    def end(self):
        """It is there no more, with all that runs on it, however far it was built."""
        try:
            self.crash()
        finally:
            self.release()

    def boot(self):
        """It has power again: a new boot, whose /run is empty, and its agent."""
        self._new_boot()
        shutil.rmtree(self.sockets, ignore_errors=True)
        self.wire.plug()
        self.is_on = True
        self.start_agent()

    # The agent.

    def start_agent(self):
        """Starts its agent, in a group of its own."""
        with open(self.directory / "agent.log", "ab") as log:
            self.agent = subprocess.Popen(
                self.command([self.program, "agent", "run", "--config", self.config]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "RUST_LOG": "agent=debug"},
            )

    def kill_agent(self):
        """The agent alone dies; the VMs know nothing of it."""
        if self.agent:
            self.agent.kill()
            self.agent.wait()
            self.agent = None

    def install(self, program):
        """Another program is installed, and the agent ended and started again with it. The VMs run on with
        the program that started them."""
        self.program = program
        self.agent.terminate()
        try:
            self.agent.wait(AGENT_ENDS_S)
        except subprocess.TimeoutExpired:
            what = f"the agent of {self.name} has not ended {AGENT_ENDS_S} s after SIGTERM"
            raise Failed(f"{what} ({self.last_words()})") from None
        self.start_agent()

    def _reap(self):
        if self.agent and self.agent.poll() is not None:
            self.agent = None

    def cli(self, words):
        """The command line of an operator of this host; what stands before it says where its agent is."""
        socket_of_agent = f"LOCKSTEP_HOST=unix:{self.sockets}/agent.sock"
        return self.command(["env", socket_of_agent, self.program, *words])

    def _ended(self, words, seconds):
        return subprocess.run(self.cli(words), text=True, capture_output=True, timeout=seconds)

    def tell(self, *words, check=True, seconds=COMMAND_S):
        """Gives this host's agent a command, and waits for its end; what it printed."""
        try:
            done = self._ended(words, seconds)
        except subprocess.TimeoutExpired:
            what = f"`{' '.join(map(str, words))}` on {self.name} has not ended after {seconds} s"
            raise Failed(f"{what} ({self.site.story()})") from None
        if check and done.returncode != 0:
            raise Failed(f"`{' '.join(map(str, words))}` on {self.name} failed: {done.stderr.strip()}")
        return done.stdout

    def begin(self, *words):
        """The same without waiting for its end; the process, which ends with the site."""
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        process = subprocess.Popen(self.cli(words), text=True, **quiet)
        self.site.stack.callback(end, process)
        return process

    def heard(self, *words):
        """The objects that a command prints with --json; None: the agent has not answered, which says nothing
        of what is there."""
        try:
            done = self._ended([*words, "--json"], ANSWER_S)
        except subprocess.TimeoutExpired:
            return None
        if done.returncode not in ANSWERED:
            return None
        return [json.loads(line) for line in done.stdout.splitlines()]

    def objects(self, *words):
        """The same, of an agent that must answer."""
        if (told := self.heard(*words)) is None:
            what = f"the agent of {self.name} does not answer `{' '.join(words)}`"
            raise Failed(f"{what} ({self.last_words()})")
        return told

    def site_seen(self):
        """What its agent says of the site as a whole; nothing if it does not answer."""
        with contextlib.suppress(OSError, ValueError), socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(str(self.sockets / "agent.sock"))
            connection.sendall(b"GET /v1/site HTTP/1.1\r\nhost: agent\r\nconnection: close\r\n\r\n")
            with connection.makefile("rb") as answer:
                return json.loads(answer.read().partition(b"\r\n\r\n")[2])
        return {}

    # The processes of VMs, asked without any agent.

    def statuses(self):
        """What each process of a VM here says of itself."""
        told = []
        for path in self.sockets.glob("*.control") if self.is_on else []:
            with contextlib.suppress(OSError, ValueError):
                told.append(ask(path, "status")[0]["status"])
        return told

    def happened(self, vm, kind):
        """What the processes of a VM here have told of one kind of event (docs/events.md)."""
        told = []
        for path in self.sockets.glob("*.control") if self.is_on else []:
            with contextlib.suppress(OSError, ValueError):
                told += ask(path, "events")[1]
        return [event for event in told if event.get("vm") == vm and event["event"] == kind]

    # The shared storage.

    def lose_storage(self, how="gone"):
        """The shared storage is `gone` (an empty directory, as below a mount that failed), `read-only`, or
        `silent`: who touches it waits."""
        shared = self.shared
        if how == "silent":
            self.server.send_signal(signal.SIGSTOP)
            return
        if how == "gone":
            self.run(["mount", "-t", "tmpfs", "-o", "ro", "gone", shared])
        else:
            self.run(["mount", "--bind", shared, shared])
            self.run(["mount", "-o", "remount,bind,ro", shared])
        self.lost_storage += 1

    def regain_storage(self):
        """It is there again."""
        if self.server:
            self.server.send_signal(signal.SIGCONT)
        for _ in range(self.lost_storage):
            self.run(["umount", "--lazy", self.shared])
        self.lost_storage = 0

    def last_words(self):
        """The end of what its agent has said, in one line."""
        path = self.directory / "agent.log"
        lines = path.read_text(errors="replace").splitlines() if path.exists() else []
        return f"{self.name}: " + " | ".join(line[-160:] for line in lines[-4:])


def end(process):
    """Kills a process if it still runs, and waits for its end."""
    process.kill()
    process.wait()


def ask(path, verb):
    """The answer of the process behind a control socket, and the lines that follow it until it hangs up."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(2)
        connection.connect(str(path))
        connection.sendall(b'{"id":"%032x","do":"%s"}\n' % (uuid.uuid4().int, verb.encode()))
        with connection.makefile("rb") as answer:
            first = json.loads(answer.readline())
            return first, [json.loads(line) for line in answer] if verb == "events" else []
