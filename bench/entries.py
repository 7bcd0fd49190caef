"""The entries of `bench/run`: which guest does them, how each is measured, and what kind of work it is."""

import dataclasses
import re
import subprocess
from collections.abc import Callable

import guests
from machines import Failed, postgres, wait_for_postgres, wait_for_redis

# Eight connections: with one, a pair's figure is its round trip; with fifty, QEMU's user-mode network hangs
# now and then.
CLIENTS_REDIS, CLIENTS_POSTGRES = 8, 4
CLIENT_SECONDS_MAX = 300


@dataclasses.dataclass
class Entry:
    """A line of the table."""

    name: str
    # "computing", "floating", "system" or "clients": the table has a mean over each kind.
    kind: str
    guest: Callable
    # A function of a machine that does the work once and returns the host seconds.
    measure: Callable
    # A function of a machine that is called before each piece and is not measured.
    prepare: Callable = lambda _: None


def work(name, kind, guest=guests.appliance):
    """An entry that the guest does alone."""
    return Entry(name, kind, guest, lambda machine: machine.work(name))


def redis(name, test, requests):
    """Requests of redis-benchmark on this host: the seconds they take at the rate it reports."""

    def benchmark(machine, count):
        output = client(
            ["redis-benchmark", "-p", str(machine.port), "-t", test, "-d", "64", "--csv"]
            + ["-c", str(CLIENTS_REDIS), "-n", str(count)]
        )
        rate = re.search(r'"[SG]ET","([0-9.]+)"', output)
        if not rate:
            raise Failed(f"redis-benchmark printed no rate: {output[-200:]}")
        return count / float(rate[1])

    def prepare(machine):
        machine.work("redis")
        wait_for_redis(machine.port)
        # One request of each kind, so that a connection has been there and GET finds something.
        client(["redis-benchmark", "-p", str(machine.port), "-t", "set,get", "-d", "64", "--csv", "-n", "8"])

    return Entry(name, "clients", guests.appliance, lambda machine: benchmark(machine, requests), prepare)


def pgbench(name, flags, transactions):
    """Transactions of pgbench on this host: the seconds that they take without connecting."""

    def benchmark(machine, count):
        arguments = ["-n", "-c", str(CLIENTS_POSTGRES), "-t", str(count // CLIENTS_POSTGRES), *flags]
        try:
            done = postgres(machine.port, "pgbench", *arguments, timeout=CLIENT_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            raise Failed(f"pgbench did not end within {CLIENT_SECONDS_MAX} s") from None
        rate = re.search(r"tps = ([0-9.]+) \(without initial connection time\)", done.stdout)
        if done.returncode != 0 or not rate:
            raise Failed(f"pgbench failed: {done.stderr.strip()[-300:]}")
        return count / float(rate[1])

    def prepare(machine):
        wait_for_postgres(machine.port)
        # Rows that are touched for the first time come from the disk.
        benchmark(machine, 4 * CLIENTS_POSTGRES)

    return Entry(name, "clients", guests.debian, lambda machine: benchmark(machine, transactions), prepare)


def client(command):
    """What a client program prints."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=CLIENT_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        raise Failed(f"{command[0]} did not end within {CLIENT_SECONDS_MAX} s") from None
    if done.returncode != 0:
        raise Failed(f"{command[0]} failed: {(done.stderr or done.stdout).strip()[-300:]}")
    return done.stdout


COMPUTING = [
    "core",
    "sieve",
    "sort",
    "chase",
    "stream",
    "hash",
    "compress",
    "sha256",
    "gzip",
    "awk",
    "shell",
]
# Those of guest/float.c, and one of guest/work.c.
FLOATS = ["bodies32", "mandelbrot", "matmul", "matmul32", "fft", "samples", "functions", "branches"]
FLOATING = ["bodies", *FLOATS]
SYSTEM = ["calls", "forks", "execs", "pingpong"]

ENTRIES = {
    entry.name: entry
    for entry in [
        Entry("boot", "system", guests.appliance, lambda machine: machine.boot()),
        *(work(name, "computing") for name in COMPUTING),
        *(work(name, "floating") for name in FLOATING),
        *(work(name, "system") for name in SYSTEM),
        redis("redis-set", "set", 4000),
        redis("redis-get", "get", 4000),
        Entry("boot-debian", "system", guests.debian, lambda machine: machine.boot()),
        work("compile", "computing", guests.debian),
        pgbench("pg-read", ["-S"], 800),
        pgbench("pg-write", [], 200),
    ]
}
BOOTS = ["boot", "boot-debian"]
