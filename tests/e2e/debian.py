#!/usr/bin/env python3
"""A full Debian as a pair, with PostgreSQL under load and a writer that counts on fsync, through the death of
its primary.

tests/e2e/debian.py [HARTS] [--disk-server] [--kill-server SECONDS] [--away SECONDS] [--seconds N]. Needs
Debian's postgresql-contrib (for pgbench), postgresql-client and e2fsprogs, and a release build of lockstep.
From outside: real processes, pgbench on the host through the gateway, SIGKILL, fsck. What must hold, in
order:

  * pgbench ends without one failed transaction;
  * the history table has exactly the transactions that pgbench's own log says were committed, and adds up;
  * every file that the guest reported as written and synced reads back;
  * the survivor's guest powers off, and the disk passes `fsck -fn`.

With `--disk-server` the disk is at `lockstep disk-server`, which is the arbiter too. With `--kill-server`
that server is killed again and again under the load, and with `--away` it is away for a while behind the
failover; then the guest's kernel must have told of no error of the disk either.
"""

import argparse
import contextlib

import os
import pathlib
import re
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "bench"))
from machines import Console, Site, copy_of, image, postgres, vm_flags, wait_for_postgres  # noqa: E402

from lib.diskserver import DiskServer  # noqa: E402

POSTGRES = 5432
FILES = 2000


class Guest:
    """The pair, its gateway and its database as a client sees it."""

    def __init__(self, site, options):
        files = image("debian")
        self.site, self.port = site, site.ports[POSTGRES]
        self.disk = copy_of(files["disk"], site.directory / "disk.raw")
        place, given, self.server = self.disk, {}, None
        if options.disk_server:
            key = site.directory / "server.key"
            key.write_text(os.urandom(32).hex())
            key.chmod(0o600)
            server = DiskServer(site.directory, self.disk, "vm", site.program, key)
            self.server = site.stack.enter_context(server)
            place, given = server.place, {"key": key, "arbiter": server.arbiter}
        flags = [*vm_flags(files, "1G", disk=place), "--harts", options.harts]
        self.halves = site.pair(flags, serial=True, **given)

    def disturbed(self, options):
        """The disk server is killed again and again while this context lasts, if that was asked for."""
        if options.kill_server:
            return self.server.killed_every(options.kill_server)
        return contextlib.nullcontext()

    def client(self, program, *arguments, **options):
        """Runs one of PostgreSQL's client programs."""
        return postgres(self.port, program, *arguments, **options)

    def query(self, text):
        return self.client("psql", "-At", "-c", text, check=True).stdout.strip()

    def figure(self, role, name):
        """The last value that a replica reported, and the largest."""
        values = [figures[name] for figures in self.site.figures(role)]
        return values[-1], max(values)


def check(fact, what):
    print(f"{'ok  ' if fact else 'FAIL'} {what}", flush=True)
    if not fact:
        raise SystemExit(1)


def transactions(directory):
    """Committed transactions by pgbench's own log, and the longest that a client waited for one, in ms."""
    lines = [
        line.split() for file in directory.glob("pgbench_log.*") for line in file.read_text().splitlines()
    ]
    return len(lines), max(int(line[2]) for line in lines) / 1000


def load(guest, console, options):
    """Runs pgbench, kills the primary in the middle; returns the lines of the writer seen before that."""
    begin = time.monotonic()
    pgbench = subprocess.Popen(
        f"pgbench -h 127.0.0.1 -p {guest.port} -U bench -n -c 4 -T {options.seconds} -l bench".split(),
        cwd=guest.site.directory,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    guest.site.stack.callback(pgbench.kill)
    while time.monotonic() - begin < options.seconds / 3:
        console.read()
    os.kill(guest.halves["primary"].pid, signal.SIGKILL)
    while console.read():
        pass
    # The end of the last line may not have come.
    written = re.findall(r"written (\d+) ([0-9a-f]{64})\r", console.text)
    if options.away:
        with guest.server.away(options.away):
            print(f"the disk server was away for {options.away} s", flush=True)
    output, errors = pgbench.communicate()
    print(output, errors, sep="", end="")
    check(pgbench.returncode == 0 and "error" not in errors, "pgbench ended without an error")
    check("failed transactions: 0 " in output, "no transaction failed")
    return written


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("harts", nargs="?", default="1")
    parser.add_argument("--seconds", type=int, default=30, help="how long the load lasts")
    parser.add_argument("--disk-server", action="store_true", help="the disk is at a disk server")
    parser.add_argument("--kill-server", type=float, help="kill that server each so many seconds")
    parser.add_argument("--away", type=float, help="that server is away for so many seconds")
    options = parser.parse_args()
    options.disk_server |= bool(options.kill_server or options.away)
    return options


def main():
    options = arguments()
    with Site([POSTGRES], prefix="lockstep-e2e-", loud=True) as site:
        begin = time.monotonic()
        guest = Guest(site, options)
        console = Console.at(site.stack, site.directory / "primary")
        console.wait_for("login: ")
        print(f"the pair is at its login prompt after {time.monotonic() - begin:.1f} s", flush=True)
        console.type("root")
        console.wait_for("# ")
        wait_for_postgres(guest.port)
        ready = guest.client("pgbench", "-i", "-q", "-s", "1")
        check(ready.returncode == 0, "pgbench has filled its tables")
        console.type(f"lockstep-fsync-check write {FILES}")
        console.wait_for("written 1 ")
        with guest.disturbed(options):
            written = load(guest, console, options)

        committed, longest = transactions(site.directory)
        history = int(guest.query("select count(*) from pgbench_history"))
        check(
            history == committed > 0,
            f"{committed} transactions by pgbench's log, {history} in the history table",
        )
        sums = [
            guest.query(f"select coalesce(sum({column}), 0) from pgbench_{table}")
            for table, column in [
                ("history", "delta"),
                ("accounts", "abalance"),
                ("tellers", "tbalance"),
                ("branches", "bbalance"),
            ]
        ]
        check(len(set(sums)) == 1, f"history, accounts, tellers and branches add up to {sums[0]}")
        print(f"longest transaction {longest:.0f} ms", flush=True)

        console = Console.at(site.stack, site.directory / "backup")
        console.type("\x03")
        console.type("")
        console.wait_for("# ")
        console.type(
            "echo en''d; tail -n +1 /var/lib/lockstep-fsync-check/sums; "
            "lockstep-fsync-check verify; echo st''atus $?"
        )
        console.wait_for(r"[\r\n]end\r")
        recorded = console.wait_for(r"(?s)^.*verified (\d+) files, 0 different")
        sums = dict(re.findall(r"(\d+) ([0-9a-f]{64})", recorded[0]))
        check(len(written) > 5, f"{len(written)} files were reported as synced before the kill")
        check(
            all(sums.get(number) == digest for number, digest in written),
            "each of them reads back, and all later ones",
        )
        if guest.server:
            console.type("dmesg | grep -cE 'I/O error|EXT4-fs error|filesystem read-only'; echo er''rors")
            told = console.wait_for(r"(\d+)\s+errors\r")
            check(told[1] == "0", "the guest's kernel has told of no error of its disk")
            print(f"the disk server was killed {guest.server.kills} times")
        console.type("poweroff")
        while console.read():
            pass
        check(guest.halves["backup"].wait() == 0, "the survivor's guest has powered off")
        print(f"digests compared: {guest.figure('backup', 'digests')[1]}")
        print(f"go-live: {guest.figure('backup', 'go_live_ms')[0]:.1f} ms after the suspicion")
        fsck = subprocess.run(["/sbin/fsck.ext4", "-fn", guest.disk], text=True, capture_output=True)
        print(fsck.stdout, end="")
        check(fsck.returncode == 0, "fsck -fn finds nothing")


main()
