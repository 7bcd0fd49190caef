"""A protected guest on a site of hosts: the gateway, the backup, the primary, and what they say of
themselves.

The program under test may be older than the test: flags that its `--help` does not know are left out.
"""

import contextlib
import functools
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

from .ledger import Ledger, Redis, RedisError
from .namespaces import Network

ROOT = pathlib.Path(__file__).resolve().parents[3]
LOCKSTEP = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release/lockstep"
HOSTS = ("client", "gateway", "a", "b", "stranger")
GATEWAY_PORT, BACKUP_PORT, REDIS = 7700, 7800, 6379
MAC = "52:54:00:4c:53:01"
MEMORY = "256M"
TIMEOUT_MS = 500
BOOT_PATIENCE_S = 240


class Failed(Exception):
    """The thing under test did not do what it should; one sentence with what was seen."""


@functools.cache
def help_of(program, command):
    """What the program says about one of its commands."""
    return subprocess.run([program, command, "--help"], text=True, capture_output=True).stdout


@functools.cache
def image(program):
    """The appliance's files by their names, made now if the cache has none."""
    made = subprocess.run([program, "image", "appliance", "--json"], stdout=subprocess.PIPE)
    if made.returncode != 0:
        raise SystemExit("the appliance is missing and could not be made, see above")
    return json.loads(made.stdout)


def known(program, command, flags):
    """Those of `flags` ({flag: value, or True for none, or a list of values}) that the command knows, as
    words."""
    text, words = help_of(program, command), []
    for flag, value in flags.items():
        if not re.search(rf"^\s+(-\w, )?{re.escape(flag)}\b", text, re.MULTILINE):
            continue
        for one in value if isinstance(value, list) else [value]:
            words += [flag] if one is True else [flag, str(one)]
    return words


def json_lines(path):
    """The objects in a file of JSON lines; the last one of a killed process may be cut off."""
    lines = []
    for line in path.read_text(errors="replace").splitlines() if path.exists() else []:
        with contextlib.suppress(ValueError):
            lines.append(json.loads(line))
    return lines


class Process:
    """One process of lockstep on a host, with its errors and its events in files."""

    def __init__(self, host, name, command, directory, **options):
        self.host, self.name = host, name
        self.stderr, self.stdout = directory / f"{name}.stderr", directory / f"{name}.stdout"
        self.events_path = directory / f"{name}.events"
        with open(self.stderr, "ab") as errors, open(self.stdout, "ab") as output:
            streams = {"stderr": errors, "stdout": output, **options}
            self.process = host.start(command, **streams)
        self.pid = self.process.pid

    def signal(self, number):
        """Sends a signal, if it is still there."""
        self.process.send_signal(number)

    def kill(self):
        """SIGKILL, and waits for the end."""
        self.process.kill()
        self.process.wait()

    def ended(self, seconds=0):
        """Its exit status, or None if it runs on for so long."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.process.wait(seconds)
        return None

    def said(self):
        """All it wrote to its standard error."""
        return self.stderr.read_text(errors="replace")

    def last_words(self):
        """The end of that, in one line."""
        return "; ".join(self.said().splitlines()[-3:]) or "(nothing)"

    def wait_for_word(self, pattern, seconds, after=0):
        """Waits until it has said this, in what follows the first `after` characters; the match, or None."""
        deadline = time.monotonic() + seconds
        while True:
            ended = self.process.poll() is not None
            if match := re.search(pattern, self.said()[after:], re.IGNORECASE):
                return match
            if ended or time.monotonic() > deadline:
                return None
            time.sleep(0.02)

    def events(self, kind=None):
        """The events it has written, of one kind or all."""
        return [event for event in json_lines(self.events_path) if kind in (None, event.get("event"))]

    def role(self):
        """The last role that it has told."""
        roles = self.events("role")
        return roles[-1]["role"] if roles else None

    def figures(self):
        """The last figures that it has told, or None."""
        figures = self.events("figures")
        return figures[-1] if figures else None

    def status(self):
        """The kernel's figures of the process, {name: text}."""
        return fields(pathlib.Path(f"/proc/{self.pid}/status"))

    def threads(self):
        """The kernel's figures of each thread."""
        found = []
        for task in pathlib.Path(f"/proc/{self.pid}/task").iterdir():
            # A thread may just have ended.
            with contextlib.suppress(OSError):
                found.append(fields(task / "status"))
        return found

    def resident_mib(self):
        """Memory in RAM."""
        return int(self.status()["VmRSS"].split()[0]) / 1024

    def descriptors(self):
        """Number of open files."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))


def fields(path):
    """A file of lines `name: value`."""
    return dict(line.split(":\t", 1) for line in path.read_text().splitlines() if ":\t" in line)


class Pair:
    """A pair on hosts `a` (primary) and `b` (backup) behind a gateway on `gateway`, with a Redis in the
    guest.

    Options are kept in attributes that may be changed between `Pair()` and `start()`: `flags[ROLE]` {flag:
    value} for gateway, primary, backup; `images`; and each host's view of what is shared, `shared(ROLE)`, a
    link that `take_away` and `give_back` break and mend.
    """

    def __init__(self, program=LOCKSTEP, far=(), timeout_ms=TIMEOUT_MS, append="", keep=False):
        self.program, self.timeout_ms = pathlib.Path(program).resolve(), timeout_ms
        self.stack, self.network = contextlib.ExitStack(), Network(HOSTS, far)
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="lockstep-hostile-"))
        if keep:
            print(f"files are in {self.directory}", file=sys.stderr, flush=True)
        else:
            self.stack.callback(run_quietly, ["rm", "-rf", self.directory])
        for name in ("arbiter", "disks"):
            (self.directory / "shared" / name).mkdir(parents=True)
        for role in ("primary", "backup"):
            self.give_back(role)
        self.key = self.make_key("key")
        self.gateway = self.primary = self.backup = None
        files = image(self.program)
        append = f"{files['append']} {append}".strip()
        self.machine = {
            "--memory": MEMORY,
            "--append": append,
            "--mac": MAC,
            "--serial": "none",
            "--name": "guest",
        }
        self.machine |= {f"--{part}": files[part] for part in ("kernel", "initrd", "firmware")}
        self.flags = {"gateway": {}, "primary": {}, "backup": {}}

    def __enter__(self):
        try:
            self.stack.enter_context(self.network)
            self.machine["--net"] = f"gateway={self.host('gateway').address}:{GATEWAY_PORT}"
        except BaseException:
            self.stack.close()
            raise
        return self

    def __exit__(self, *_):
        self.stack.close()

    def host(self, name):
        """A host of the site."""
        return self.network.host(name)

    def make_key(self, name, mode=0o600):
        """A file with a new key."""
        path = self.directory / name
        path.write_text(os.urandom(32).hex())
        path.chmod(mode)
        return path

    def shared(self, role):
        """The directory that both hosts share, as this side sees it."""
        return self.directory / f"{role}-sees"

    def take_away(self, *roles):
        """These sides do not reach what is shared any more: each access fails, as on a mount that is gone."""
        for role in roles:
            self._point(role, self.directory / "away")

    def give_back(self, *roles):
        """They reach it again."""
        for role in roles:
            self._point(role, self.directory / "shared")

    def _point(self, role, to):
        fresh = self.directory / f".{role}"
        fresh.symlink_to(to)
        fresh.replace(self.shared(role))

    def start_gateway(self):
        """Starts the gateway with a forward to the guest's Redis; waits until it listens."""
        address = self.host("gateway").address
        flags = {
            "--listen": f"{address}:{GATEWAY_PORT}",
            "--forward": f"{address}:{REDIS}-:{REDIS}",
            "--key": self.key,
        }
        command = [self.program, "gateway", *known(self.program, "gateway", flags | self.flags["gateway"])]
        self.gateway = Process(self.host("gateway"), "gateway", command, self.directory)
        deadline = time.monotonic() + 10
        while not self.gateway.stdout.read_text():
            if self.gateway.ended() is not None or time.monotonic() > deadline:
                raise Failed(f"the gateway did not start: {self.gateway.last_words()}")
            time.sleep(0.01)

    def words(self, role, **other):
        """The command line of one half; `other` replaces flags (`name="x"` is `--name x`; None leaves one
        out)."""
        flags = self.machine | {
            "--backup": f"{self.host('b').address}:{BACKUP_PORT}",
            "--key": self.key,
            "--arbiter": self.shared(role) / "arbiter",
            "--timeout-ms": self.timeout_ms,
            "--events": self.directory / f"{role}.events",
            "--figures-every": 1000,
        }
        flags |= self.flags[role] | {f"--{word}": value for word, value in other.items()}
        flags = {flag: value for flag, value in flags.items() if value is not None}
        return [self.program, role, *known(self.program, role, flags)]

    def start_backup(self, **options):
        """Starts the backup; waits until it listens."""
        self.backup = Process(self.host("b"), "backup", self.words("backup"), self.directory, **options)
        if not self.backup.wait_for_word("waiting for the primary|listen", 10):
            raise Failed(f"the backup did not start: {self.backup.last_words()}")

    def start_primary(self, **options):
        """Starts the primary, and waits for nothing."""
        self.primary = Process(self.host("a"), "primary", self.words("primary"), self.directory, **options)

    def start(self):
        """Starts everything and waits until the guest's Redis answers and the pair is a pair."""
        self.start_gateway()
        self.start_backup()
        self.start_primary()
        self.wait_until_ready()
        return self

    def wait_until_ready(self, seconds=BOOT_PATIENCE_S):
        """Waits until Redis answers a client."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for process in (self.gateway, self.backup, self.primary):
                if process and process.ended() is not None:
                    raise Failed(f"the {process.name} ended while the guest booted: {process.last_words()}")
            with contextlib.suppress(OSError, RedisError):
                connection = self.client(timeout=2)
                try:
                    if connection.ask("PING") == "PONG":
                        return
                finally:
                    connection.close()
            time.sleep(0.1)
        raise Failed(f"no Redis answered within {seconds} s; the primary says: {self.primary.last_words()}")

    def client(self, host="client", timeout=30):
        """A connection of a client to the guest's Redis, through the gateway."""
        return Redis(self.host(host), self.host("gateway").address, REDIS, timeout)

    def ledger(self, host="client", **options):
        """A client that keeps a ledger, at work."""
        ledger = Ledger(self.host(host), self.host("gateway").address, REDIS, **options)
        # What is told beside what the client saw.
        ledger.story = self.story
        return ledger

    def protected(self):
        """Is the guest still live on `a` with its copy on `b`?"""
        return self.primary.role() == "primary" and self.backup.role() == "backup" and not self.ended()

    def ended(self):
        """The halves that have ended."""
        return [half for half in (self.primary, self.backup) if half.ended() is not None]

    def story(self):
        """What happened to the two halves, in a few words."""
        words = []
        for half in (self.primary, self.backup):
            tale = [
                event["role"] + (f" ({event['suspicion']})" if event.get("suspicion") else "")
                for event in half.events("role")
            ]
            status = half.ended()
            end = "" if status is None else f", ended with {status}"
            words.append(f"{half.name}: {' > '.join(tale) or 'no role'}{end}")
        return "; ".join(words)

    def paces(self, since):
        """At which share of its speed the primary let itself run, in permille, by its figures since an
        instant."""
        begin = since + time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()
        return [
            event["speed_permille"]
            for event in self.primary.events("figures")
            if event["time_ns"] / 1e9 > begin
        ]

    def live_after(self, instant):
        """How long after `instant` the backup suspected the primary, and was live, in words."""
        # Replicas tell their times on a clock that also runs while a machine sleeps.
        begin = instant + time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()
        times = {
            event["role"]: (event["time_ns"] / 1e9 - begin) * 1000 for event in self.backup.events("role")
        }
        return (
            " and ".join(f"{times[role]:.0f} ms ({role})" for role in ("claiming", "solo") if role in times)
            or "never"
        )

    def wait_for_role(self, half, role, seconds):
        """Waits until that half has told this role. False: not within that time."""
        deadline = time.monotonic() + seconds
        while half.role() != role:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True

    def stop_for(self, half, seconds):
        """SIGSTOP, a while, SIGCONT."""
        half.signal(signal.SIGSTOP)
        try:
            time.sleep(seconds)
        finally:
            half.signal(signal.SIGCONT)


def run_quietly(command):
    """Runs a command whose failure does not matter."""
    subprocess.run(command, capture_output=True)
