#!/usr/bin/env python3
"""What a committed transaction costs a pair: rate and processor time, beside an earlier build of the program.

BEFORE=/path/to/lockstep bench/commit.py [ROUNDS]. Needs Debian's postgresql-contrib (pgbench) and
postgresql-client. Runs the full Debian as a pair, of both programs in turn, and measures pgbench's simple
update from one client and from eight. Each transaction is a commit, and so an fsync of the guest: with one
client, the rate of transactions is the rate of fsyncs.
"""

import statistics
import sys

from machines import (
    BEFORE,
    LOCKSTEP,
    Failed,
    Site,
    build,
    copy_of,
    image,
    postgres,
    vm_flags,
    wait_for_postgres,
)
from processor import processor_us

POSTGRES = 5432
LOADS = {1: 1500, 8: 4000}


def transactions(port, clients, count):
    """Transactions a second of pgbench's simple update."""
    flags = ["-n", "-N", "-c", str(clients), "-t", str(count // clients)]
    done = postgres(port, "pgbench", *flags, timeout=600)
    if done.returncode != 0:
        raise Failed(f"pgbench failed: {done.stderr.strip()[-300:]}")
    rate = next(line for line in done.stdout.splitlines() if line.startswith("tps = "))
    return float(rate.split()[2])


def measured(program, files):
    """{clients: (transactions a second, microseconds of both replicas' processor for one)}"""
    found = {}
    with Site([POSTGRES], program=program) as site:
        disk = copy_of(files["disk"], site.directory / "disk.raw")
        replicas = site.pair(vm_flags(files, "1G", disk=disk))
        port = site.ports[POSTGRES]
        wait_for_postgres(port)
        if postgres(port, "pgbench", "-i", "-q", "-s", "1", timeout=600).returncode != 0:
            raise Failed("pgbench could not make its tables")
        transactions(port, 4, 400)
        for clients, count in LOADS.items():
            before = sum(processor_us(replica.pid) for replica in replicas.values())
            rate = transactions(port, clients, count)
            used = sum(processor_us(replica.pid) for replica in replicas.values()) - before
            found[clients] = (rate, used / count)
    return found


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    if not BEFORE:
        raise SystemExit("name an earlier build of the program: BEFORE=/path/to/lockstep bench/commit.py")
    build()
    files = image("debian")
    results = {BEFORE: [], LOCKSTEP: []}
    for turn in range(rounds):
        for program in list(results)[:: -1 if turn % 2 else 1]:
            results[program].append(measured(program, files))
            print(f"round {turn + 1}, {program}: {results[program][-1]}", file=sys.stderr, flush=True)
    print(
        f"{'clients':<8} {'tps before':>11} {'tps now':>9} {'ratio':>6}"
        f" {'us before':>10} {'us now':>8} {'ratio':>6}"
    )
    for clients in LOADS:
        tps, cost = (
            [statistics.median(round[clients][part] for round in results[program]) for program in results]
            for part in [0, 1]
        )
        print(
            f"{clients:<8} {tps[0]:11.0f} {tps[1]:9.0f} {tps[1] / tps[0]:6.2f}"
            f" {cost[0]:10.0f} {cost[1]:8.0f} {cost[1] / cost[0]:6.2f}"
        )


main()
