"""`Site`: three hosts with an agent each (`lib/place.py`), a VM with Redis that they keep protected, and
whoever looks at it from outside.

    with Site(program) as site:
        ledger = site.shop()                  # the VM runs, is protected, and a client writes
        site.owner().crash()
        site.protected_again(...)
        site.nothing_lost(ledger)
        site.one_live_at_any_time()

The witness at the switch and the arbiter's records are two accounts of who was live, by two that know nothing
of each other: the hosts that have shown the guest must be the owners on record, in their order.
"""

import contextlib
import dataclasses
import pathlib
import re
import subprocess
import sys
import tempfile
import time

from .bridged import Dhcp, Witness, is_part_in_order
from .guestdisk import GuestDisk
from .ledger import Ledger, Redis
from .loopback import Loopback, LoopbackPlace, NoWitness, free_port
from .namespaces import Network
from .pair import LOCKSTEP, Failed, image
from .place import Place, end

HOSTS = ("a", "b", "c")
VM, REDIS, GATEWAY_PORT = "shop", 6379, 7700
MEMORY = "256M"
# A clone and a boot on a machine that is busy with other things as well.
PROTECT_S, BOOT_S, SERVED_S = 90, 120, 20
ETCD_PORT = 2379
# From one write of a client to the next.
EVERY_S = 0.004
# The pair's failure detection; on a busy machine the default of 500 ms would be a test of the machine.
TIMEOUT_MS = 1000


def mac_of(number):
    """The Ethernet address of the guest with this number, from 0 on."""
    return f"52:54:00:4c:53:{0x77 + number:02x}"


@dataclasses.dataclass
class Sides:
    """Where a VM is, as its processes say. `word` is the live side's own for its protection
    (docs/control.md); None unless one side alone is live. A process that cannot be asked is not among the
    sides, so only the live side's word tells that a VM has no backup."""

    live: list
    backups: list
    word: str | None

    @property
    def is_protected(self):
        """Does the live side say so, and is there a backup?"""
        return self.word == "protected" and len(self.backups) == 1


class Site:
    """Options: `store` is `directory` or `etcd`; `far` hosts have a cable whose delay can be set.
    `served`: each host reaches the shared storage by a file server of its own, which may fall silent.
    `disk`: the first VM has a disk (`lib/guestdisk.py`) on a storage that is served.
    `vms`: the names of the site's VMs, of which scenarios with one VM use the first.
    `behind`: what the guests' network is behind: `bridge` (each host's bridge, whose cable is the host's),
    `uplink` (a bridge of the guests' own on each host, with a cable of its own) or `gateway` (a gateway on a
    host of its own, with the site's key)."""

    # Without root, on loopback; the same for all sites of a program.
    is_local = False

    def __init__(
        self,
        program=LOCKSTEP,
        store="directory",
        far=(),
        served=False,
        keep=False,
        vms=(VM,),
        behind="bridge",
        disk=False,
    ):
        self.program, self.store, self.vms = pathlib.Path(program).resolve(), store, vms
        self.behind = behind
        self.served, self.has_disk, self.keep = served or disk, disk, keep
        # Whatever is begun says here first how it is ended, so that a site that could not be built, or whose
        # scenario fails, leaves nothing behind. The directory is made by `__enter__`.
        self.stack = contextlib.ExitStack()
        self.directory = self.storage = self.shared = self.disk = None
        names = ["client", *HOSTS, "etcd", "gateway"]
        self.network = Loopback(names) if self.is_local else Network(names, far)
        self.macs = {vm: mac_of(number) for number, vm in enumerate(vms)}
        # Where clients reach each guest's Redis, and the network that its settings name.
        self.guests = {vm: (f"10.99.0.{200 + number}", REDIS) for number, vm in enumerate(vms)}
        self.nets = {vm: f"tap={vm}" for vm in vms}
        self.places, self.etcd, self.witnesses = {}, None, {}

    def __enter__(self):
        try:
            self._build()
        except BaseException:
            self.stack.close()
            raise
        return self

    def __exit__(self, *_):
        self.stack.close()

    def _build(self):
        self._make_directory()
        self.stack.enter_context(self.network)
        for name in HOSTS:
            wire = self.network.host(name)
            kind = LoopbackPlace if self.is_local else Place
            place = self.places[name] = kind(self, name, wire, self.directory / name)
            self.stack.callback(place.end)
            place.build()
        self._surround()
        if self.store == "etcd":
            self.stack.callback(self.stop_etcd)
            self.start_etcd()
        self._introduce()
        if self.is_local or self.behind == "gateway":
            self._start_gateway()
        for place in self.places.values():
            place.start_agent()
        self.until(lambda: self.hosts_ready() == len(HOSTS), 30, "the three agents do not see each other")

    def _make_directory(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="lsc-"))
        if self.keep:
            print(f"files are in {self.directory}", file=sys.stderr, flush=True)
        else:
            self.stack.callback(subprocess.run, ["rm", "-rf", self.directory])
        self.storage, self.shared = self.directory / "storage", self.directory / "shared"
        for path in (self.storage, self.shared):
            path.mkdir()
        self.disk = GuestDisk(self, self.vms[0]) if self.has_disk else None

    def _surround(self):
        """What stands around the guests: their network, and who looks at it."""
        if self.is_local or self.behind == "gateway":
            self.witnesses = dict.fromkeys(self.vms, NoWitness())
            return
        ports = {name: place.port_of_guests for name, place in self.places.items()}
        for vm, mac in self.macs.items():
            self.witnesses[vm] = Witness(self.network, ports, mac)
            self.stack.callback(self.witnesses[vm].stop)
        leases = {self.macs[vm]: self.guests[vm][0] for vm in self.vms}
        self.stack.callback(Dhcp(self.network.host("client"), leases).stop)

    def _start_gateway(self):
        """A gateway, which on loopback is behind a Unix socket, and the forwards to all guests."""
        host = self.network.host("gateway")
        listen, key = self.directory / "gateway", []
        if not self.is_local:
            listen, key = f"{host.address}:{GATEWAY_PORT}", ["--key", self.places[HOSTS[0]].key]
        words = [self.program, "gateway", "--listen", listen, *key]
        for number, vm in enumerate(self.vms):
            address, port = ("127.0.0.1", free_port()) if self.is_local else (host.address, REDIS + number)
            words += ["--forward", f"{address}:{port}-{self.macs[vm]}:{REDIS}"]
            self.guests[vm], self.nets[vm] = (address, port), f"gateway={listen}"
        with open(self.directory / "gateway.log", "ab") as log:
            host.start(words, stderr=log)
        self.until(lambda: self._answers(host, listen), 20, "the gateway did not start")

    def _answers(self, host, listen):
        if self.is_local:
            return listen.exists()
        with contextlib.suppress(OSError):
            self.network.host("client").connect(host.address, GATEWAY_PORT, 1).close()
            return True

    def _introduce(self):
        """`lockstep agent init` on each host, with the key of the first one."""
        more = ["--etcd", f"http://{self.network.host('etcd').address}:{ETCD_PORT}"]
        first = self.places[HOSTS[0]]
        for place in self.places.values():
            if place is not first:
                place.key.write_bytes(first.key.read_bytes())
                place.key.chmod(0o600)
            files = ["--config", place.config, "--state-dir", place.state_dir, "--run-dir", place.run_dir]
            where = ["--address", place.address, "--shared", place.shared, "--host", place.name]
            words = [self.program, "agent", "init", *where, *files]
            place.run([*words, *(more if self.store == "etcd" else [])])

    # etcd, in a network of its own.

    def start_etcd(self):
        """Starts etcd, with what it had before."""
        host = self.network.host("etcd")
        url, peer = f"http://{host.address}:{ETCD_PORT}", f"http://{host.address}:2380"
        with open(self.directory / "etcd.log", "ab") as log:
            command = ["etcd", "--data-dir", self.directory / "etcd", "--listen-client-urls", url]
            command += ["--advertise-client-urls", url, "--listen-peer-urls", peer]
            command += ["--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}"]
            self.etcd = host.start(command, stdout=log, stderr=log)
        self.until(self._etcd_answers, 30, "etcd did not start")

    def _etcd_answers(self):
        with contextlib.suppress(OSError):
            self.network.host("client").connect(self.network.host("etcd").address, ETCD_PORT, 1).close()
            return True

    def stop_etcd(self):
        """Kills etcd, if it runs."""
        if self.etcd:
            end(self.etcd)

    # What is seen.

    def until(self, is_so, seconds, sentence):
        """Waits until something is so; how long that took, in seconds."""
        begin = time.monotonic()
        while not is_so():
            if time.monotonic() > begin + seconds:
                raise Failed(f"{sentence} (waited {seconds} s; {self.story()})")
            time.sleep(0.1)
        return time.monotonic() - begin

    def hosts_ready(self):
        """How many hosts the agent that sees fewest of them hears of."""
        counts = []
        for place in self.places.values():
            if place.agent:
                told = place.heard("hosts") or []
                counts.append(sum(host.get("state") in ("ready", "draining") for host in told))
        return min(counts, default=0)

    def sides(self, vm=VM):
        """Where a VM is, by what its processes say."""
        told = [
            (place, status)
            for place in self.places.values()
            for status in place.statuses()
            if status["name"] == vm
        ]
        live = [(place, status) for place, status in told if status["role"] in ("solo", "primary")]
        backups = [place for place, status in told if status["role"] == "backup"]
        word = live[0][1]["protection"]["state"] if len(live) == 1 else None
        return Sides([place for place, _ in live], backups, word)

    def is_protected(self, vm=VM):
        """Is it live on one host and has its backup on another?"""
        sides = self.sides(vm)
        return sides.is_protected and sides.live[0] is not sides.backups[0]

    def owner(self, vm=VM):
        """The host on which it is live."""
        live = self.sides(vm).live
        if len(live) != 1:
            raise Failed(f"{vm} is live on {len(live)} hosts ({self.story()})")
        return live[0]

    def backup(self, vm=VM):
        """The host of its backup."""
        return self.sides(vm).backups[0]

    def coming(self, vm=VM):
        """The hosts on which a process is on its way to be its backup."""
        is_coming = lambda status: status["name"] == vm and status["role"] == "apprentice"  # noqa: E731
        return [place for place in self.places.values() if any(map(is_coming, place.statuses()))]

    def spare(self, vm=VM):
        """The host that has nothing of it."""
        sides = self.sides(vm)
        return next(place for place in self.places.values() if place not in [*sides.live, *sides.backups])

    def an_agent(self):
        """A host whose agent runs."""
        return next(place for place in self.places.values() if place.agent)

    def is_idle(self):
        """Does each agent that runs say that no operation is under way? One that does not answer, or has not
        read the site's directory yet, says nothing."""
        agents = [place for place in self.places.values() if place.agent]
        return bool(agents) and all(map(self._says_idle, agents))

    @staticmethod
    def _says_idle(place):
        if place.site_seen().get("directory_away", "no answer"):
            return False
        told = place.heard("operations")
        return told is not None and all(operation["state"] != "running" for operation in told)

    def hand_overs(self, vm=VM):
        """From when to when (CLOCK_MONOTONIC) the guest stood in each hand-over, in their order, as the
        processes tell that have taken it over and still run."""
        ahead = time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()
        told = [event for place in self.places.values() for event in place.happened(vm, "taken")]
        ends = sorted((event["time_ns"] / 1e9 - ahead, event["after_ms"] / 1e3) for event in told)
        return [(end - lasted, end) for end, lasted in ends]

    @property
    def witness(self):
        """The witness of the first VM."""
        return self.witnesses[self.vms[0]]

    def owners_on_record(self, vm=VM):
        """The hosts that have claimed the VM at the arbiter, in the order of the epochs."""
        claims = sorted((self.storage / "arbiter").glob(f"{vm}.*.claim"))
        # Each host has a directory of its own, in which its processes' signs of life are.
        signs = [re.search(r"^sign (.*)$", claim.read_text(), re.MULTILINE)[1] for claim in claims]
        hosts = [pathlib.Path(sign).relative_to(self.directory).parts[0] for sign in signs]
        return [host for number, host in enumerate(hosts) if number == 0 or hosts[number - 1] != host]

    def story(self):
        """How all is, in one line, for whoever must find out why."""
        parts = []
        for place in self.places.values():
            said = [
                f"{status['role']}/{status['guest']}/{status['protection']['state']}@{status['epoch']}"
                for status in place.statuses()
            ]
            parts.append(f"{place.name} {', '.join(said) or ('nothing' if place.is_on else 'off')}")
        for place in self.places.values():
            # Nobody but this test ends agents: one that is gone was killed from outside, or has crashed.
            if place.agent and place.agent.poll() is not None:
                parts.append(f"{place.name}'s agent has ended with {place.agent.returncode}")
        agent = next((place for place in self.places.values() if place.agent), None)
        if agent:
            told = agent.heard("status")
            if told is None:
                parts.append(f"{agent.name}'s agent does not answer")
            for vm in told or []:
                protection = vm.get("protection") or {}
                reasons = [reason.get("sentence") for reason in protection.get("reasons", [])]
                parts.append(f"{agent.name}'s agent: {protection.get('state')} {reasons}")
        parts.append(f"owners on record {self.owners_on_record()}, shown by {self.witness.hosts()}")
        return "; ".join(parts)

    # The VM and its client.

    def settings(self, vm=VM):
        """The settings of a VM, as a file."""
        files = image(self.program)
        has_disk = self.disk and vm == self.disk.vm
        files = {**files, "append": files["append"] + (" lockstep.data=/dev/vda" if has_disk else "")}
        lines = [f'{part} = "{files[part]}"' for part in ("kernel", "initrd", "firmware", "append")]
        lines += self.disk.settings() if has_disk else []
        lines += [f'name = "{vm}"', f'memory = "{MEMORY}"', f'net = "{self.nets[vm]}"']
        path = self.directory / f"{vm}.toml"
        path.write_text("\n".join([*lines, f'mac = "{self.macs[vm]}"', f"timeout_ms = {TIMEOUT_MS}"]) + "\n")
        return path

    def shop(self, on="a", vm=VM, every_s=EVERY_S):
        """The VM is created and started, and protected; a client that writes to it."""
        place = self.places[on]
        place.tell("create", self.settings(vm))
        place.tell("start", vm, "--on", on, "--no-wait")
        self.protected_again("after its start", vm=vm)
        return self.client("after its start", vm, every_s)

    def client(self, what, vm=VM, every_s=EVERY_S):
        """A client on one connection that keeps a ledger of what was acknowledged."""
        wire = self.network.host("client")
        connected = []

        def connects():
            # Redis may not listen yet, or the guest have no address. A gateway takes connections even then.
            with contextlib.suppress(OSError):
                redis = Redis(wire, *self.guests[vm], timeout=5)
                with contextlib.closing(redis):
                    redis.ask("PING")
                connected.append(ledger := Ledger(wire, *self.guests[vm], every_s))
                self.stack.callback(ledger.abandon)
            return bool(connected)

        self.until(connects, BOOT_S, f"{what}, nobody answers a client")
        self.goes_on(connected[0], what)
        return connected[0]

    # What must hold.

    def goes_on(self, ledger, what, writes=50, seconds=SERVED_S):
        """A client's writes go on."""
        if not ledger.wait_for(writes, seconds):
            raise Failed(
                f"{what}, a client had no {writes} more answers within {seconds} s "
                f"({ledger.error or 'it waits'}; {self.story()})"
            )

    def protected_again(self, what, seconds=PROTECT_S, vm=VM):
        """The VM is protected, within so many seconds; how long it took."""
        return self.until(lambda: self.is_protected(vm), seconds, f"{what}, {vm} is not protected")

    def one_live_at_any_time(self, vm=VM):
        """Who has shown the guest are the owners on record, in their order; and one alone is live now."""
        witness, owners = self.witnesses[vm], self.owners_on_record(vm)
        if not witness.hosts() and not isinstance(witness, NoWitness):
            raise Failed(f"the witness at the switch has seen no frame of the guest of {vm}")
        if not is_part_in_order(witness.hosts(), owners):
            raise Failed(f"the guest was shown by {witness.story()}, but its owners were {owners}")
        self.owner(vm)

    def nothing_lost(self, ledger):
        """All that was acknowledged is read back on the client's first connection; how many writes that
        were."""
        if sentence := ledger.verdict():
            raise Failed(f"{sentence} ({self.story()})")
        return len(ledger.acknowledged)

    def holds(self, ledger, what, vm=VM):
        """All that must hold after a fault is over; the figures."""
        took = self.protected_again(what, vm=vm)
        self.goes_on(ledger, what)
        writes = self.nothing_lost(ledger)
        self.one_live_at_any_time(vm)
        hosts = " ".join(self.witnesses[vm].hosts()) or "nobody who is watched"
        return f"protected again after {took:.1f} s, {writes} writes, shown by {hosts}"
