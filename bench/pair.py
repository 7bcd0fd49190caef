#!/usr/bin/env python3
"""What protection costs: log bandwidth, delay of outputs, Redis' throughput, memory.

bench/pair.py [SECONDS]. Needs Debian's redis-tools. A guest alone, one that records and a pair take turns.
"""

import re
import statistics
import subprocess
import sys
import time

from machines import ROOT, Site, build, image, vm_flags, wait_for_redis
from processor import processor_us

MEMORY, REDIS = "512M", 6379
LOADS = {
    "1 client": ["-c", "1", "-n", "5000"],
    "8 clients": ["-c", "8", "-n", "15000"],
    "50 clients": ["-c", "50", "-n", "20000"],
}


class Loaded(float):
    """SET requests a second, and the microseconds of processor that each process took for one, by name."""

    used: dict


def redis_benchmark(port, load, processes):
    before = {name: processor_us(process.pid) for name, process in processes.items()}
    output = subprocess.run(
        ["redis-benchmark", "-p", str(port), "-t", "set", "-d", "64", "--csv", *load],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    loaded = Loaded(re.search(r'"SET","([0-9.]+)"', output).group(1))
    requests = int(load[load.index("-n") + 1])
    loaded.used = {
        name: (processor_us(process.pid) - before[name]) / requests for name, process in processes.items()
    }
    return loaded


def beyond_ram(pid):
    """Bytes of the process in memory that are not the guest's RAM."""
    ram = int(MEMORY.rstrip("M")) << 20
    total = own = size = 0
    for line in open(f"/proc/{pid}/smaps"):
        if head := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            size = int(head[2], 16) - int(head[1], 16)
        elif line.startswith("Rss:"):
            rss = int(line.split()[1]) << 10
            total += rss
            own += 0 if size >= ram else rss
    return own, total


def traffic(site):
    last = site.figures("primary")[-1]
    return last["time_ns"] / 1e9, last["wire_sent_bytes"] + last["wire_received_bytes"]


def megabits(site, work):
    """Mbit/s on the link while `work` runs; it should take many seconds."""
    time.sleep(2)  # Figures are written every second.
    begin, before = traffic(site)
    work()
    time.sleep(2)
    end, after = traffic(site)
    return (after - before) * 8 / 1e6 / (end - begin)


def protected(flags, seconds):
    with Site([REDIS]) as site:
        replicas = site.pair(flags)
        wait_for_redis(site.ports[REDIS])
        time.sleep(5)
        print(f"idle: {megabits(site, lambda: time.sleep(seconds)):.3f} Mbit/s on the link, both directions")
        rates = {}
        for load, options in LOADS.items():
            used = megabits(
                site, lambda: rates.update({load: redis_benchmark(site.ports[REDIS], options, replicas)})
            )
            print(f"SET from {load}: {rates[load]:.0f}/s, {used:.2f} Mbit/s on the link")
        last = site.figures("primary")[-1]
        for name in ["output_delay", "round_trip"]:
            delay = last[name]
            print(f"{name} of {delay['count']}: p50 {delay['p50_us']:.0f} us, p99 {delay['p99_us']:.0f} us")
        for role, replica in replicas.items():
            own, total = beyond_ram(replica.pid)
            print(f"{role}: {own / 2**20:.0f} MiB beyond the guest's RAM, {total / 2**20:.0f} MiB in all")
        return rates


def alone(flags, role):
    with Site([REDIS]) as site:
        log = ["-o", site.directory / "log"] if role == "record" else []
        processes = {role: site.start(role, [*flags, "--serial", "none", *log])}
        wait_for_redis(site.ports[REDIS])
        return {
            load: redis_benchmark(site.ports[REDIS], options, processes) for load, options in LOADS.items()
        }


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 20
    build()
    flags = vm_flags(image("appliance"), MEMORY)
    print("output delay with a toy guest against a bare TCP ping-pong:")
    subprocess.run(
        ["cargo", "run", "--release", "--quiet", "-p", "host", "--example", "latency"], cwd=ROOT, check=True
    )
    rounds = []
    for turn in range(3):
        print(f"-- round {turn + 1}")
        rounds.append(
            {**{role: alone(flags, role) for role in ["run", "record"]}, "pair": protected(flags, seconds)}
        )
    print(f"{'Redis SET/s, median':<20} {'run':>8} {'record':>8} {'pair':>8} {'pair/run':>9}")
    for load in LOADS:
        run, record, pair = (
            statistics.median(rates[mode][load] for rates in rounds) for mode in ["run", "record", "pair"]
        )
        print(f"{load:<20} {run:8.0f} {record:8.0f} {pair:8.0f} {pair / run:9.2f}")
    print(f"{'processor us/request':<20} {'run':>8} {'record':>8} {'primary':>8} {'backup':>9}")
    for load in LOADS:
        used = {}
        for mode in ["run", "record", "pair"]:
            for name in rounds[0][mode][load].used:
                used[name] = statistics.median(rates[mode][load].used[name] for rates in rounds)
        print(
            f"{load:<20} {used['run']:8.0f} {used['record']:8.0f}"
            f" {used['primary']:8.0f} {used['backup']:9.0f}"
        )


main()
