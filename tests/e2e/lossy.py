#!/usr/bin/env python3
"""What the guest flushed survives its host: the primary dies by SIGKILL, and its host's cache of the shared
disk with it.

tests/e2e/lossy.py [--runs N] [--seed S] [--harts N] [--sync-ms MS] [--control] [--lockstep FILE] [--json].
Needs root, /dev/fuse, Debian's e2fsprogs and util-linux, and a release build of lockstep.

The two hosts are two mounts of one directory, each with a cache of its own (lib/lossyfs.py). A guest with the
disk keeps ledgers there and says over the network what it has flushed (guest/ledger.py): appended records,
records written past the guest's cache and flushed sixteen at a time, renamed files. Each run:

  1. three clients, a ledger each, and a fourth that makes metadata nobody flushes, on connections that are
     never opened again;
  2. at a random moment the primary and its host's mount are killed; the backup takes over and the clients go
     on;
  3. the guest drops its caches and reads the ledgers: all that was acknowledged must be there;
  4. the survivor and its mount are killed too, and the VM is started again from the storage: the same must
     hold;
  5. it powers off, and the disk passes `fsck -fn`.

In one run of three the mounts refuse O_DIRECT, as some file systems do.

The shared disk's /proc/PID/fdinfo must say O_DIRECT or O_DSYNC, on the primary before its end and on the
survivor. With --control the mounts have no cache that could be lost: then nothing may be missing whatever
lockstep does, or it is the test that loses it.
"""

import argparse
import contextlib
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from lib import halves, lossyfs  # noqa: E402
from lib.halves import Lines, Pair, machines  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
PORT, GROUP, DISK_MIB = 9000, 16, 256
# The guest's file for records past its cache has so many blocks; a client must not come round.
DIRECT_GROUPS_MAX = 8192 // GROUP
KINDS = ["append", "direct", "files"]
# On a busy machine a pair may lose its protection before the test takes it; such a run is made again, so
# often at most.
ATTEMPTS = 4
# How long the machine may be busy with something else; none of this is measured.
PATIENCE = 180


class Unprotected(Exception):
    """The pair was none any more when its primary was to be killed: the run says nothing."""


def ledger_image():
    """An appliance with Python whose service is guest/ledger.py."""
    program = (HERE / "guest/ledger.py").read_text()
    command = f"cat >/run/ledger.py <<'LEDGER'\n{program}\nLEDGER\nexec python3 -E -S /run/ledger.py"
    made = subprocess.run(
        [machines.LOCKSTEP, "image", "appliance", "--json", "--package", "python3", "--run", command],
        stdout=subprocess.PIPE,
    )
    if made.returncode != 0:
        raise SystemExit("the image with the ledgers could not be made, see above")
    return json.loads(made.stdout)


class Host:
    """A mount of the shared storage with its own cache, which dies with `kill`."""

    def __init__(self, stack, directory, name, storage, flags, seed):
        self.point, self.statistics_path = directory / name, directory / f"{name}.statistics"
        self.point.mkdir()
        command = [HERE / "lib/lossyfs.py", storage, self.point, self.statistics_path, *flags, "--seed", seed]
        stack.callback(subprocess.run, ["umount", "-l", self.point], stderr=subprocess.DEVNULL)
        self.server = machines.start(stack, [sys.executable, *command], stdout=subprocess.PIPE)
        if self.server.stdout.readline() != b"mounted\n":
            raise SystemExit("cannot mount the test's file system; is there a /dev/fuse, and are you root?")

    def statistics(self):
        return lossyfs.Statistics(self.statistics_path).all()


class Client(threading.Thread):
    """Keeps one ledger: what was acknowledged, by number."""

    def __init__(self, port, kind):
        super().__init__(daemon=True)
        self.lines, self.kind = Lines(port, patience=PATIENCE), kind
        self.acknowledged, self.stopping, self.error = 0, False, None

    def run(self):
        try:
            while not self.stopping and not (
                self.kind == "direct" and self.acknowledged >= DIRECT_GROUPS_MAX
            ):
                line = f"{self.kind} {self.acknowledged}"
                if self.lines.ask(line) != line:
                    raise ValueError(f"a wrong answer to {line!r}")
                self.acknowledged += 1
        except (OSError, ValueError) as error:
            self.error = str(error) or type(error).__name__

    def expected(self):
        return self.acknowledged * (GROUP if self.kind == "direct" else 1)

    def wait_for(self, count):
        deadline = time.monotonic() + PATIENCE
        while self.acknowledged < count and not self.error and time.monotonic() < deadline:
            time.sleep(0.01)


def missing(clients, found):
    """{kind: how many acknowledged records are not among those found}."""
    lost = {}
    for client in clients:
        if client.kind in KINDS:
            expected = client.expected()
            have = sum(
                min(last + 1, expected) - first for first, last in found[client.kind] if first < expected
            )
            lost[client.kind] = expected - have
    return lost


def is_direct(pid, disk):
    """Is each descriptor of the disk that a process may write with direct or synchronous? None: it has
    none."""
    flags = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{pid}/fd/{name}") == str(disk):
                text = pathlib.Path(f"/proc/{pid}/fdinfo/{name}").read_text()
                flags.append(int(text.split("flags:")[1].split()[0], 8))
    writable = [value for value in flags if value & os.O_ACCMODE]
    return all(value & (os.O_DIRECT | os.O_DSYNC) for value in writable) if writable else None


def fresh_disk(path):
    with open(path, "wb") as file:
        file.truncate(DISK_MIB << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", path], check=True)


class Run:
    """One death of a host."""

    def __init__(self, image, args, number):
        self.image, self.args, self.number = image, args, number

    def fault(self, sentence):
        self.result["faults"].append(sentence)

    def go(self):
        for attempt in range(1, ATTEMPTS + 1):
            # Each attempt is the same plan.
            self.chance = random.Random(f"{self.args.seed} {self.number}")
            self.result = {"run": self.number, "attempt": attempt, "faults": []}
            try:
                return self.attempt()
            except Unprotected as unprotected:
                self.fault(f"protection had ended before the fault, {ATTEMPTS} times: {unprotected}")
        return self.result

    def attempt(self):
        with contextlib.ExitStack() as stack:
            directory = pathlib.Path(
                stack.enter_context(tempfile.TemporaryDirectory(prefix="lockstep-e2e-lossy-"))
            )
            try:
                self.go_in(stack, directory)
            except (OSError, ValueError, KeyError) as error:
                self.fault(f"{type(error).__name__}: {error}")
            if self.result["faults"] and self.args.keep:
                kept = pathlib.Path(self.args.keep) / str(self.number)
                kept.mkdir(parents=True, exist_ok=True)
                for file in [*directory.glob("*.events"), *directory.glob("*.errors")]:
                    shutil.copy(file, kept)
        return self.result

    def go_in(self, stack, directory):
        storage = directory / "storage"
        storage.mkdir()
        fresh_disk(storage / "disk.raw")
        with contextlib.ExitStack() as pair_stack:
            clients, survivor = self.as_pair(pair_stack, directory, storage)
            if survivor is None:
                return
            self.verify("after the takeover", clients)
            # All that was flushed is on the storage now, so a second death costs nothing either.
            survivor.kill()
            self.hosts["backup"].server.kill()
        self.restart(stack, directory, storage, clients)

    def flags(self):
        machine = machines.vm_flags(self.image, "512M", "lockstep.data=/dev/vda")
        return [*machine, "--harts", self.args.harts, "--serial", "none"]

    def as_pair(self, stack, directory, storage):
        args, chance = self.args, self.chance
        refuses = chance.randrange(3) == 0
        self.result["refuses_direct"] = refuses
        flags = [
            "--sync-ms",
            args.sync_ms,
            *(["--no-cache"] if args.control else []),
            *(["--no-direct"] if refuses else []),
        ]
        self.hosts = {
            role: Host(stack, directory, f"host-{role}", storage, flags, chance.randrange(1 << 30))
            for role in ["primary", "backup"]
        }
        self.port = machines.start_gateway(stack, directory, [PORT])[PORT]
        disks = {role: host.point / "disk.raw" for role, host in self.hosts.items()}
        net = ["--net", f"gateway={directory / 'gateway'}"]
        pair = Pair(
            stack,
            directory,
            [*self.flags(), *net],
            own={role: ["--disk", disk] for role, disk in disks.items()},
            timeout_ms=args.timeout_ms,
        )
        if not halves.wait_for_port(self.port, PATIENCE, b"churn 0\n", b"churn 0", gone=pair.primary.ended):
            self.fault(f"the guest does not answer: {pair.primary.said()[-500:]}")
            return None, None
        clients = [Client(self.port, kind) for kind in [*KINDS, "churn"]]
        for client in clients:
            client.start()
        for client in clients:
            client.wait_for(3)
        time.sleep(chance.uniform(0.5, 3))
        self.check_descriptor("primary", pair.primary.pid, disks["primary"])
        before = {client.kind: client.acknowledged for client in clients}
        if (pair.primary.role_now(), pair.backup.role_now()) != ("primary", "backup"):
            raise Unprotected(
                [event["suspicion"] for event in pair.primary.events("role") + pair.backup.events("role")]
            )
        pair.primary.kill()
        self.hosts["primary"].server.send_signal(signal.SIGKILL)
        cache = self.hosts["primary"].statistics()
        self.result |= {
            "lost_cache_bytes": cache["dirty_bytes"],
            "acknowledged_before": before,
            "primary_cache": cache,
        }
        if not pair.wait_for_role(pair.backup, ["solo"], PATIENCE):
            self.fault(f"the backup did not take over: {pair.backup.said()[-500:]}")
            return None, None
        for client in clients:
            if client.kind != "direct" or before["direct"] + 3 < DIRECT_GROUPS_MAX:
                client.wait_for(before[client.kind] + 3)
        time.sleep(chance.uniform(0.5, 1.5))
        self.check_descriptor("survivor", pair.backup.pid, disks["backup"])
        for client in clients:
            client.stopping = True
        for client in clients:
            client.join(PATIENCE)
            if client.error or client.is_alive():
                self.fault(f"the connection of `{client.kind}` ended: {client.error or 'no answer'}")
        self.result["acknowledged"] = {
            client.kind: client.expected() for client in clients if client.kind in KINDS
        }
        return clients, pair.backup

    def check_descriptor(self, who, pid, disk):
        direct = is_direct(pid, disk)
        self.result[f"{who}_direct"] = direct
        if not direct and not self.args.control:
            self.fault(f"the {who}'s shared disk is neither direct nor synchronous")

    def verify(self, when, clients):
        lines = Lines(self.port, patience=PATIENCE)
        found = json.loads(lines.ask("verify"))
        lines.close()
        if not found["mounted"]:
            self.fault(f"{when}, the disk has no file system that could be mounted")
        lost = missing(clients, found)
        self.result[f"lost {when}"] = lost
        if any(lost.values()):
            self.fault(f"{when}, acknowledged records are missing: {lost}")

    def restart(self, stack, directory, storage, clients):
        (directory / "gateway").unlink(missing_ok=True)
        self.port = machines.start_gateway(stack, directory, [PORT])[PORT]
        errors = open(directory / "again.errors", "w")
        around = [
            "--disk",
            storage / "disk.raw",
            "--net",
            f"gateway={directory / 'gateway'}",
            "--name",
            "again",
        ]
        again = machines.start(stack, [machines.LOCKSTEP, "run", *self.flags(), *around], stderr=errors)
        # The lock of the dead survivor is on the storage; on this machine its process is seen to be dead.
        if not halves.wait_for_port(
            self.port, PATIENCE, b"churn 0\n", b"churn 0", gone=lambda: again.poll() is not None
        ):
            words = (directory / "again.errors").read_text()[-500:]
            self.fault(f"the VM does not start again from its disk: {words}")
            return
        self.verify("after the restart", clients)
        with contextlib.suppress(OSError):
            Lines(self.port).ask("poweroff")
        again.wait(PATIENCE)
        fsck = subprocess.run(["e2fsck", "-fn", storage / "disk.raw"], capture_output=True, text=True)
        if fsck.returncode != 0:
            self.fault(f"fsck -fn: {fsck.stdout.strip()[-300:]}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument(
        "--first", type=int, default=1, help="number of the first run: a run is the seed and its number"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--harts", default="1")
    parser.add_argument("--sync-ms", type=float, default=5, help="how long the storage takes for a flush")
    parser.add_argument("--timeout-ms", type=int, default=1000)
    parser.add_argument(
        "--control", action="store_true", help="mounts without a cache: the test itself loses nothing"
    )
    parser.add_argument("--lockstep", help="the program to test; default: the release build")
    parser.add_argument("--keep", help="a directory for what the replicas of a failed run said")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    for program, package in [("mkfs.ext4", "e2fsprogs"), ("e2fsck", "e2fsprogs"), ("unshare", "util-linux")]:
        if not shutil.which(program):
            raise SystemExit(f"`{program}` is missing; run `apt-get install {package}`")
    halves.apart()
    halves.use(args.lockstep)
    image = ledger_image()
    failed = 0
    for number in range(args.first, args.first + args.runs):
        begin = time.monotonic()
        result = Run(image, args, number).go()
        failed += bool(result["faults"])
        if args.json:
            print(json.dumps(result), flush=True)
        else:
            word, cache = "FAIL" if result["faults"] else "ok  ", result.get("lost_cache_bytes", 0) >> 10
            refused = "no O_DIRECT, " if result.get("refuses_direct") else ""
            print(
                f"{word} run {number}: {refused}{cache} KiB of cache lost, "
                f"acknowledged {result.get('acknowledged')}, {time.monotonic() - begin:.0f} s",
                flush=True,
            )
            for sentence in result["faults"]:
                print(f"       {sentence}", flush=True)
    print(f"{args.runs} runs, {failed} failed", file=sys.stderr if args.json else sys.stdout)
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
