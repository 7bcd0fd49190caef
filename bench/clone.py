#!/usr/bin/env python3
"""What it costs a guest that runs to get a backup: how long it stands, what its client sees, what is sent.

bench/clone.py [--memory 1G,4G,8G] [--load idle,redis,dirty] [--repeats N] [--touch 4G] [--shared] [--json]

For each size and load the appliance runs alone, a client counts in its Redis 1,000 times a second on one
connection through the gateway (paced.py), and N times over the guest is protected, and the backup dismissed.
The loads:

    idle     the client only
    redis    redis-benchmark, 8 connections with 16 requests on the way on each
    dirty    a program of the guest that writes nearly all of its memory again and again; with --touch so much
             of it at most, for a host that has no memory for two such guests

After each clone comes an equally long window without one, which tells what the machine itself does to the
client. The cut is what the owner's events say; the rest is seen from outside. All is on one host. Owner,
apprentice, gateway and client stand for three hosts and share its processors, so:

- The bench and its processes are a session of their own, which comes before all other work of the host
  (/proc/PID/autogroup, for root only; `--shared` leaves that out).
- Gateway and client are run as soon as they have something to do (SCHED_FIFO; not with `--shared`): hosts of
  their own would have nothing else to do. All that makes them late then is the owner, or the host.
- The client tells by how much it was late to ask by itself. That is the host's doing (one with much else to
  do holds even such processes back for 40 ms now and then).

Needs Debian's cpio, gcc-riscv64-linux-gnu, libc6-dev-riscv64-cross and redis-tools.
BEFORE=/path/to/lockstep has another build of the program measured.
"""

import argparse
import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time

import guests
from clone_table import table
from machines import BEFORE, LOCKSTEP, Console, Failed, Site, free_port, pair_flags, start, vm_flags
from machines import wait_for_redis
from paced import Paced
from processor import processor_us

NAME, REDIS = "cloned", 6379
LOADS = ["idle", "redis", "dirty"]
PATIENCE_S = 300
# Before what is measured begins.
SETTLE_S = 1.0
# Shortest window: with fewer answers the longest gap says little.
WINDOW_S = 1.0


def come_first():
    """Makes this process a session that is served before others; False: that is not allowed here."""
    if os.getpgrp() == os.getpid() and (child := os.fork()):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 0xFF)
    os.setsid()
    try:
        pathlib.Path("/proc/self/autogroup").write_text("-20\n")
        return True
    except OSError:
        return False


def until(what, done, seconds=PATIENCE_S):
    """Waits until `done` gives something, and gives it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := done():
            return found
        time.sleep(0.01)
    raise Failed(f"never: {what}")


def resident(pid):
    """Bytes of a process in memory."""
    return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def thread_us(pid):
    """Processor time of a process's first thread so far, in microseconds: in a replica it runs the guest."""
    return int(pathlib.Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) / 1e3


class Watch(threading.Thread):
    """Samples the memory of a process until it is told to stop."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.most, self.done = pid, resident(pid), threading.Event()
        self.start()

    def run(self):
        while not self.done.wait(0.01):
            self.most = max(self.most, resident(self.pid))

    def stop(self):
        """The most that was seen."""
        self.done.set()
        self.join()
        return self.most


class Redis:
    """The guest's Redis, asked on a connection of its own how much it has done."""

    def __init__(self, port):
        self.port = port

    def commands(self):
        """All commands so far."""
        words = ["nice", "redis-cli", "-p", str(self.port), "info", "stats"]
        text = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout
        return int(re.search(r"total_commands_processed:(\d+)", text)[1])


class Bench:
    """One guest of one size under one load, which is cloned again and again."""

    def __init__(self, stack, guest, memory, load, touch, program, first):
        self.memory, self.load, self.stack = memory, load, stack
        self.touched = min(bytes_of(memory), touch or bytes_of(memory))
        self.site = stack.enter_context(Site([REDIS], "lockstep-clone-", program=program))
        self.directory = self.site.directory
        os.environ["XDG_RUNTIME_DIR"] = str(self.directory)
        pair = [str(word) for word in pair_flags(self.directory)]
        self.key = pair[pair.index("--key") + 1]
        flags = [
            *vm_flags(guest.image, memory, f"{guest.append} bench.touch={self.touched >> 20}"),
            *pair[pair.index("--key") :],
            *["--name", NAME, "--serial", f"unix:{self.directory / 'console'}"],
            *["--events", self.directory / "owner.events"],
        ]
        self.owner = self.site.start("run", flags)
        self.console = Console.at(stack, self.directory / "console")
        self.number = 0
        if not self.console.wait_for(guests.READY, PATIENCE_S):
            raise Failed("the guest did not boot")
        self.type("redis")
        port = self.site.ports[REDIS]
        wait_for_redis(port)
        self.redis = Redis(port)
        self.client = Paced(stack, port, self.directory)
        if first:
            for process in [self.client.process, *self.site.gateways]:
                os.sched_setscheduler(process.pid, os.SCHED_FIFO, os.sched_param(1))
        self.begin_load(port)

    def type(self, name):
        """Has the guest's gate begin something that goes on."""
        self.number += 1
        line = f"{name} {self.number}"
        self.console.type(line)
        if not self.console.wait_for(f"bench: end {self.number} ", PATIENCE_S):
            raise Failed(f"the guest has not begun {name}")

    def begin_load(self, port):
        if self.load == "redis":
            words = ["redis-benchmark", "-p", str(port), "-t", "set", "-d", "64", "-l"]
            start(self.stack, [*words, "-c", "8", "-P", "16", "-n", "1000000", "-q"])
        if self.load == "dirty":
            self.type("dirty")
            self.wait_for_memory()
        time.sleep(SETTLE_S)

    def wait_for_memory(self):
        """Waits until the guest has used nearly all of its memory, and no more for a while."""
        wanted = self.touched * 0.8
        until("the guest uses its memory", lambda: resident(self.owner.pid) >= wanted)
        before = 0
        while resident(self.owner.pid) > before + (1 << 20):
            before = resident(self.owner.pid)
            time.sleep(0.5)

    def tell(self, *words):
        # What asks is no part of what is measured.
        command = ["nice", self.site.program, *words]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise Failed(f"lockstep {' '.join(words)} ends with {done.returncode}: {done.stderr.strip()}")

    def new_events(self):
        """The owner's events since the last call of `forget`."""
        with open(self.directory / "owner.events") as file:
            file.seek(self.known)
            lines = file.read().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def forget(self):
        self.known = (self.directory / "owner.events").stat().st_size

    def window(self, work):
        """Does some work, and gives what was seen of client and owner meanwhile."""
        pid = self.owner.pid
        commands, used, begin = self.redis.commands(), processor_us(pid), time.monotonic()
        computed = thread_us(pid)
        watch, before = Watch(pid), resident(pid)
        done = work()
        end = time.monotonic()
        used, computed = processor_us(pid) - used, thread_us(pid) - computed
        commands = self.redis.commands() - commands
        if not self.client.is_there():
            raise Failed("the client's connection broke")
        seconds = end - begin
        return done, {
            **self.client.gaps(begin, end),
            "seconds": round(seconds, 3),
            "requests_per_second": round(commands / (time.monotonic() - begin)),
            "processor_us_per_request": round(used / max(commands, 1), 2),
            "guest_thread_us_per_request": round(computed / max(commands, 1), 2),
            "memory_more": watch.stop() - before,
        }

    def clone(self):
        """Protects the guest once and dismisses the backup; what was seen, and what the owner says."""
        port = free_port()
        errors = open(self.directory / "backup.stderr", "w+b")
        backup = start(
            self.stack,
            [self.site.program, "backup", "--listen", f"127.0.0.1:{port}", "--key", self.key]
            + ["--serial", "none", "--events", self.directory / "backup.events"],
            stderr=errors,
        )
        said = self.directory / "backup.stderr"
        until("the backup listens", lambda: "waiting" in said.read_text(errors="replace"))
        time.sleep(SETTLE_S)
        self.forget()
        (told, phases), seen = self.window(lambda: self.protect(port))
        # The longest gap of each phase.
        gaps = {}
        for phase, begin, end in phases:
            gap = self.client.gaps(begin, end)["gap_ms"]
            gaps[phase] = max(gap or 0, gaps.get(phase, 0))
        seen["gaps_ms"] = gaps
        time.sleep(SETTLE_S)
        self.tell("unprotect", NAME, "--yes")
        backup.wait(PATIENCE_S)
        time.sleep(SETTLE_S)
        return {**told, "during": seen}

    def protect(self, port):
        self.tell("protect", NAME, "--to", f"127.0.0.1:{port}")
        ends = ["protected", "clone-failed"]
        ended = until("the clone's end", lambda: [e for e in self.new_events() if e["event"] in ends])[-1]
        if ended["event"] != "protected":
            raise Failed(f"the clone failed: {ended['why']}")
        return figures(self.new_events(), ended)

    def measure(self, repeats):
        """All clones, each with a window without one after it."""
        clones = []
        for _ in range(repeats):
            clone = self.clone()
            seconds = max(clone["during"]["seconds"], WINDOW_S)
            _, clone["without"] = self.window(lambda seconds=seconds: time.sleep(seconds))
            clones.append(clone)
            say(".")
        say("\n")
        return {"memory": self.memory, "load": self.load, "clones": clones}


def figures(told, protected):
    """What the owner's events say of a clone; and its phases, each with its begin and end in seconds."""
    steps = [event for event in told if event["event"] == "cloning"]
    phases, took = [], {}
    for event, after in zip(steps, [*steps[1:], protected], strict=True):
        name, begin, end = event["phase"], event["time_ns"] / 1e9, after["time_ns"] / 1e9
        # Sealing is told as a part of copying.
        name = "sealing" if name in took else name
        phases.append((name, begin, end))
        took[name] = round((end - begin) * 1e3, 1)
    keys = ["took_ms", "cut_us", "stood_ms", "rounds", "pages", "bytes", "touched_pages", "owed_pages"]
    return {**{key: protected[key] for key in keys if key in protected}, "phases_ms": took}, phases


def bytes_of(size):
    return int(size[:-1]) << {"M": 20, "G": 30}[size[-1]]


def say(text):
    print(text, end="", file=sys.stderr, flush=True)


def words(allowed):
    """A list with commas of these words, or of any, as an argument."""

    def parse(text):
        chosen = text.split(",")
        if allowed and (unknown := set(chosen) - set(allowed)):
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}")
        return chosen

    return parse


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--memory", type=words(None), default=["1G", "4G", "8G"])
    parser.add_argument("--load", type=words(LOADS), default=LOADS)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--touch", type=bytes_of)
    parser.add_argument("--shared", action="store_true")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    first = not args.shared and come_first()
    if not first:
        say("other work of this host is served as soon as the bench\n")
    results = []
    with tempfile.TemporaryDirectory(prefix="lockstep-clone-guest-") as name:
        guest = guests.appliance(pathlib.Path(name))
        for memory in args.memory:
            for load in args.load:
                say(f"{memory} {load}: ")
                with contextlib.ExitStack() as stack:
                    bench = Bench(stack, guest, memory, load, args.touch, BEFORE or LOCKSTEP, first)
                    results.append(bench.measure(args.repeats))
    result = {"comes_first": first, "results": results}
    print(json.dumps(result) if args.json else table(results))


if __name__ == "__main__":
    main()
