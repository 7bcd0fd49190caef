"""`GuestDisk`: a guest's disk on the shared storage of a site, and what bears witness of it.

Each host reaches the storage by a file server of its own (`lossyfs.py`), which notes each write before it
makes it. So the order of the writers is known from outside, as the order of those that show the guest is
known at the switch: they must be the owners on record, in their order, and a host that writes once more
after another one has is a second live VM.

What the guest was told is durable must be there in the end: its Redis keeps an append-only file on the disk
and calls fsync before it answers. Each acknowledged write must stand in that file exactly once.
"""

import collections
import shutil
import subprocess

from .bridged import is_part_in_order
from .ledger import Redis
from .pair import Failed

DISK_MIB = 64


def require():
    """Ends the program with a sentence if this machine cannot make and read such a disk."""
    for program in ("mkfs.ext4", "e2fsck", "debugfs"):
        if not shutil.which(program):
            raise SystemExit(f"`{program}` is missing; install e2fsprogs")


class GuestDisk:
    """The disk of a VM of a site, made empty."""

    def __init__(self, site, vm):
        require()
        self.site, self.vm, self.path = site, vm, site.storage / f"{vm}.raw"
        with open(self.path, "wb") as file:
            file.truncate(DISK_MIB << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", self.path], check=True)
        # The server sees the very file, so this number is that of its notes.
        self.inode = self.path.stat().st_ino

    def settings(self):
        """Lines for VM.toml."""
        return [f'disk = "{self.site.shared}/{self.path.name}"']

    def sync_each_write(self):
        """Has the guest's Redis answer a write only when it is durable."""
        redis = Redis(self.site.network.host("client"), *self.site.guests[self.vm])
        redis.ask("CONFIG", "SET", "appendfsync", "always")
        redis.close()

    def writers(self):
        """The hosts that have written to it, in their order, with how often each did."""
        notes = []
        for name, place in self.site.places.items():
            lines = place.writes.read_text().splitlines()
            notes += [(int(at), name) for at, inode in map(str.split, lines) if int(inode) == self.inode]
        turns = []
        for _, name in sorted(notes):
            if not turns or turns[-1][0] != name:
                turns.append([name, 0])
            turns[-1][1] += 1
        return turns

    def one_writer_at_any_time(self):
        """Who has written to it are the owners on record, in their order; those hosts."""
        writers, owners = self.writers(), self.site.owners_on_record(self.vm)
        hosts = [name for name, _ in writers]
        if not hosts or not is_part_in_order(hosts, owners):
            raise Failed(f"the disk was written by {writers}, but the VM's owners were {owners}")
        return hosts

    def holds_once(self, ledger):
        """The file system is whole once its journal is read, and each acknowledged write is there exactly
        once. Only for a VM that is off."""
        copy, tree = self.site.directory / "copy.raw", self.site.directory / "copy"
        shutil.copy(self.path, copy)
        # The guest was switched off as if its power had failed.
        checked = subprocess.run(["e2fsck", "-fp", copy], capture_output=True, text=True)
        if checked.returncode > 1:
            raise Failed(f"the file system of the guest's disk is not whole: {checked.stdout.strip()[-300:]}")
        tree.mkdir()
        subprocess.run(["debugfs", "-R", f"rdump /appendonlydir {tree}", copy], capture_output=True)
        files = sorted(tree.glob("**/*.incr.aof"))
        text = b"".join(file.read_bytes() for file in files)
        written = collections.Counter(text.split(b"\r\n"))
        times = collections.Counter(
            written[ledger.key(number).encode()] for number in range(len(ledger.acknowledged))
        )
        if set(times) != {1}:
            count = len(ledger.acknowledged)
            raise Failed(f"of {count} durable writes so many stand so often: {dict(times)}")
