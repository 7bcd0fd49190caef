#!/usr/bin/env python3
"""An hour of clients that come and go: the memory and descriptors of primary, backup and gateway must stay as
they are.

tests/e2e/churn.py [--minutes M] [--rate N] [--lockstep FILE] [--json]. Needs root and a release build of
lockstep. The guest is the appliance's Redis. Its clients, all bounded in number:

    steady    write one key after the other on one connection each, read back each eighth write, and all at
              the end
    short     connect, write a little, and leave: orderly, by a reset, with half a command, or without having
              said anything
    idle      connect, write once, and say nothing for up to a minute
    refused   connect to a forward that nobody serves in the guest

Sampled are, for each process, memory in RAM (RSS), its share of it (PSS), machine code that was translated
from the guest's (code), what is neither that nor the guest's RAM (own), threads and file descriptors. Flat
means: between the second quarter of the time and the last one, the mean of `own` grows by at most 5 % and 4
MiB, descriptors and threads by at most 4 on average; and the gateway never has more than 100 MiB. The guest's
RAM and the code are caches of a fixed size that fill bit by bit: a guest touches its RAM up to its size, and
what it does rarely is translated once it has been done often enough, up to 128 MiB.
"""

import argparse
import contextlib
import json
import os
import pathlib
import random
import re
import socket
import statistics
import struct
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from lib import halves  # noqa: E402
from lib.halves import Pair, machines  # noqa: E402
from lib.ledger import Redis, RedisError  # noqa: E402
from lib.processfaults import Here  # noqa: E402

MEMORY, REDIS, NOBODY = 256 << 20, 6379, 6380
KEYS, SAMPLES, PATIENCE = 500, 240, 180
IDLE_MAX, SHORT_THREADS = 40, 4
OWN_PART, OWN_BYTES, FEW, GATEWAY_MAX = 1.05, 4 << 20, 4, 100 << 20
MIB = 1 << 20
# The kernel's name for memory that is mapped in two places and has no file.
CODE = "/dev/zero (deleted)"


class Stopping(threading.Event):
    """Set when the clients shall end."""


class Steady(threading.Thread):
    """Overwrites the same keys again and again, and knows what must be in each."""

    def __init__(self, port, number, stopping, chance):
        super().__init__(daemon=True)
        self.redis, self.number, self.stopping = Redis(Here, "127.0.0.1", port, PATIENCE), number, stopping
        self.written, self.wrong, self.error, self.chance = 0, 0, None, chance

    def pair(self, turn):
        return f"steady{self.number}:{turn % KEYS}", f"{turn:012}"

    def run(self):
        try:
            while not self.stopping.wait(0.004):
                key, value = self.pair(self.written)
                self.wrong += self.redis.ask("SET", key, value) != "OK"
                self.written += 1
                if self.written % 8 == 0:
                    self.wrong += self.redis.ask("GET", key) != value
            for turn in range(max(0, self.written - KEYS), self.written):
                key, value = self.pair(turn)
                self.wrong += self.redis.ask("GET", key) != value
        except (OSError, RedisError) as error:
            self.error = f"after {self.written} writes: {error or type(error).__name__}"


class Short(threading.Thread):
    """Comes and goes, so often a second."""

    def __init__(self, ports, rate, stopping, chance):
        super().__init__(daemon=True)
        self.ports, self.every, self.stopping, self.chance = ports, 1 / rate, stopping, chance
        self.count, self.errors, self.error = 0, 0, None

    def run(self):
        due = time.monotonic()
        while not self.stopping.wait(max(0, due - time.monotonic())):
            # What could not be done in time is not made up for: the guest sets the pace.
            due = max(due + self.every, time.monotonic() - 1)
            try:
                self.visit(self.chance.random())
            except (OSError, RedisError) as error:
                self.errors, self.error = self.errors + 1, str(error) or type(error).__name__
            self.count += 1

    def visit(self, how):
        if how < 0.05:
            # The gateway answers for the guest that nobody is there: a refusal is what is expected.
            with contextlib.suppress(OSError), Here.connect(
                "127.0.0.1", self.ports[NOBODY], 30
            ) as connection:
                connection.recv(1)
            return
        redis = Redis(Here, "127.0.0.1", self.ports[REDIS], 30)
        try:
            if how > 0.15:
                for _ in range(self.chance.randrange(1, 10)):
                    redis.ask(
                        "SET", f"short:{self.chance.randrange(KEYS)}", "x" * self.chance.randrange(1, 2000)
                    )
            if 0.15 < how < 0.3:
                redis.socket.sendall(b"*3\r\n$3\r\nSET\r\n$5\r\nha")
            if how < 0.45:
                redis.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        finally:
            # Not `Redis.close`: an orderly end before the reset would make it no reset.
            redis.socket.close()


class Idle(threading.Thread):
    """Keeps up to IDLE_MAX connections that say nothing; each ends after up to a minute, and another one
    begins."""

    def __init__(self, port, stopping, chance):
        super().__init__(daemon=True)
        self.port, self.stopping, self.chance = port, stopping, chance
        self.held, self.errors, self.error = [], 0, None

    def run(self):
        while not self.stopping.wait(0.25):
            now = time.monotonic()
            for ends, redis in [entry for entry in self.held if entry[0] < now]:
                redis.close()
                self.held.remove((ends, redis))
            if len(self.held) < IDLE_MAX:
                try:
                    redis = Redis(Here, "127.0.0.1", self.port, 30)
                    redis.ask("PING")
                    self.held.append((now + self.chance.uniform(1, 60), redis))
                except (OSError, RedisError) as error:
                    self.errors, self.error = self.errors + 1, str(error) or type(error).__name__
        for _, redis in self.held:
            redis.close()


def sample(pid, ram):
    """A process now: bytes of memory by kind, threads and descriptors."""
    found = dict.fromkeys(["rss", "pss", "code", "own"], 0)
    size, is_code = 0, False
    for line in open(f"/proc/{pid}/smaps"):
        if head := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            size = int(head[2], 16) - int(head[1], 16)
            is_code = CODE in line
        elif line.startswith(("Rss:", "Pss:")):
            amount, kind = int(line.split()[1]) << 10, line[:3].lower()
            found[kind] += amount
            if is_code:
                # It is mapped twice, to be written and to be run: its two shares are its size.
                found["code"] += amount if kind == "pss" else 0
            elif kind == "rss" and (ram is None or size < ram):
                found["own"] += amount
    found["threads"] = len(os.listdir(f"/proc/{pid}/task"))
    found["descriptors"] = len(os.listdir(f"/proc/{pid}/fd"))
    return found


def quarters(samples):
    """The means of each quarter of the samples."""
    length = len(samples) // 4
    parts = [samples[part * length : (part + 1) * length] for part in range(4)]
    return [{name: statistics.mean(one[name] for one in part) for name in part[0]} for part in parts]


def verdict(name, samples):
    """What is not flat, in sentences."""
    _, second, _, last = quarters(samples)
    sentences = []
    if last["own"] > second["own"] * OWN_PART and last["own"] > second["own"] + OWN_BYTES:
        grown = f"from {second['own'] / MIB:.1f} to {last['own'] / MIB:.1f} MiB"
        sentences.append(f"the memory of the {name} grew {grown}")
    for what in ["descriptors", "threads"]:
        if last[what] > second[what] + FEW:
            sentences.append(f"the {what} of the {name} grew from {second[what]:.1f} to {last[what]:.1f}")
    highest = max(one["own"] for one in samples)
    if name == "gateway" and highest > GATEWAY_MAX:
        sentences.append(f"the gateway had {highest / MIB:.0f} MiB")
    return sentences


def table(samples):
    lines = [
        f"{'means of each quarter':<22}{'quarter':>8}{'RSS MiB':>9}{'PSS MiB':>9}{'code MiB':>9}"
        f"{'own MiB':>9}{'threads':>9}{'files':>7}"
    ]
    for name, found in samples.items():
        for number, mean in enumerate(quarters(found), 1):
            memory = "".join(f"{mean[kind] / MIB:>9.1f}" for kind in ["rss", "pss", "code", "own"])
            lines.append(f"{name:<22}{number:>8}{memory}{mean['threads']:>9.1f}{mean['descriptors']:>7.1f}")
        lines.append(f"{name:<22}{'highest':>8}{'':>27}{max(one['own'] for one in found) / MIB:>9.1f}")
    return "\n".join(lines)


def watch(processes, minutes):
    """Samples all processes until the time is over; by name."""
    samples, every = {name: [] for name in processes}, minutes * 60 / SAMPLES
    begin = time.monotonic()
    for turn in range(SAMPLES):
        time.sleep(max(0, begin + (turn + 1) * every - time.monotonic()))
        for name, pid in processes.items():
            samples[name].append(sample(pid, None if name == "gateway" else MEMORY))
    return samples


def gateway_pid(directory):
    """The gateway's process: the one whose command line names this directory's socket."""
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                words = pathlib.Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")
                if b"gateway" in words and os.fsencode(directory / "gateway") in words:
                    return int(entry)
    raise SystemExit("the gateway is gone")


def run(args, stack, directory):
    chance, stopping = random.Random(args.seed), Stopping()
    ports = machines.start_gateway(stack, directory, [REDIS, NOBODY])
    image = machines.image("appliance")
    flags = [
        *machines.vm_flags(image, f"{MEMORY >> 20}M"),
        "--net",
        f"gateway={directory / 'gateway'}",
        "--serial",
        "none",
    ]
    pair = Pair(stack, directory, flags)
    if not halves.wait_for_port(ports[REDIS], PATIENCE, b"PING\r\n", b"+PONG", gone=pair.primary.ended):
        raise SystemExit(f"the guest does not answer: {pair.primary.said()}")
    steady = [Steady(ports[REDIS], number, stopping, chance) for number in range(2)]
    churn = [
        Short(ports, args.rate / SHORT_THREADS, stopping, random.Random(chance.random()))
        for _ in range(SHORT_THREADS)
    ]
    clients = [*steady, *churn, Idle(ports[REDIS], stopping, random.Random(chance.random()))]
    for client in clients:
        client.start()
    processes = {"primary": pair.primary.pid, "backup": pair.backup.pid, "gateway": gateway_pid(directory)}
    sentences = []
    try:
        samples = watch(processes, args.minutes)
    except OSError:
        raise SystemExit(
            f"a process has ended: {pair.primary.said()[-500:]} {pair.backup.said()[-500:]}"
        ) from None
    stopping.set()
    for client in clients:
        client.join(PATIENCE)
    if (pair.primary.role_now(), pair.backup.role_now()) != ("primary", "backup"):
        sentences.append(f"the pair is none any more: {pair.primary.role_now()}, {pair.backup.role_now()}")
    for client in steady:
        if client.error or client.wrong:
            sentences.append(f"a steady client: {client.wrong} wrong answers, {client.error or 'no error'}")
    for name, found in samples.items():
        sentences += verdict(name, found)
    counts = {
        "minutes": args.minutes,
        "written": sum(client.written for client in steady),
        "visits": sum(client.count for client in churn),
        "visits_failed": sum(client.errors for client in clients if not isinstance(client, Steady)),
        "error": next((client.error for client in clients[2:] if client.error), None),
    }
    return counts, samples, sentences


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument(
        "--rate", type=float, default=40, help="visits of short clients a second, if the guest can"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lockstep", help="the program to test; default: the release build")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    halves.apart()
    halves.use(args.lockstep)
    with contextlib.ExitStack() as stack:
        directory = pathlib.Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="lockstep-e2e-churn-"))
        )
        counts, samples, sentences = run(args, stack, directory)
    if args.json:
        means = {name: quarters(found) for name, found in samples.items()}
        print(json.dumps({**counts, "quarters": means, "complaints": sentences}))
    else:
        print(
            f"{args.minutes:.0f} minutes: {counts['written']} steady writes, {counts['visits']} visits, "
            f"{counts['visits_failed']} of them failed ({counts['error']})"
        )
        print(table(samples))
        print("\n".join(sentences) or "all is flat")
    raise SystemExit(1 if sentences else 0)


if __name__ == "__main__":
    main()
