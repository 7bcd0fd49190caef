#!/usr/bin/env python3
"""The disk server against qemu-nbd: the same file, the same cache mode, the same minute.

bench/disk.py [--rounds N] [--seconds S] [--size MiB]. Needs Debian's qemu-utils and fio, and a release build
of lockstep. For each kind of work both servers are measured in turns, and the ratio of the medians is told;
the goals are in docs/performance.md.
"""

import argparse
import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/e2e"))
from lib.diskserver import DiskServer, free_port  # noqa: E402
from lib.pair import LOCKSTEP  # noqa: E402

# Name, what fio is told, the goal.
WORK = [
    ("randread 4k, depth 16", "--rw=randread --bs=4k --iodepth=16", 1.0),
    ("randwrite 4k, depth 16", "--rw=randwrite --bs=4k --iodepth=16", 1.0),
    ("read 1M, depth 4", "--rw=read --bs=1M --iodepth=4", 1.0),
    ("write 1M, depth 4", "--rw=write --bs=1M --iodepth=4", 1.0),
    ("randwrite 4k with fsync, depth 1", "--rw=randwrite --bs=4k --iodepth=1 --fsync=1", None),
]


def make(path, size):
    """A file with data everywhere, which is in the page cache."""
    with open(path, "wb") as file:
        for _ in range(size >> 20):
            file.write(os.urandom(1 << 20))


@contextlib.contextmanager
def qemu_nbd(path):
    port = free_port()
    command = ["qemu-nbd", "--format=raw", "--cache=writeback", "--persistent", "--shared=16",
               f"--port={port}", "--bind=127.0.0.1", "--export-name=vda", path]
    process = subprocess.Popen([*map(str, command)])
    uri = f"nbd://127.0.0.1:{port}/vda"
    try:
        while subprocess.run(["qemu-img", "info", uri], capture_output=True).returncode != 0:
            time.sleep(0.05)
        yield uri
    finally:
        process.terminate()
        process.wait()


def rate(uri, work, size, seconds, directory):
    """Requests in a second."""
    command = ["fio", "--name=x", "--ioengine=nbd", f"--uri={uri}", *work.split(), f"--size={size}",
               "--time_based", f"--runtime={seconds}", "--output-format=json", f"--aux-path={directory}"]
    done = subprocess.run(command, text=True, capture_output=True, check=True)
    job = json.loads(done.stdout[done.stdout.index("{"):])["jobs"][0]
    return job["read"]["iops"] + job["write"]["iops"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--size", type=int, default=256, help="MiB of the disk")
    options = parser.parse_args()
    size = options.size << 20
    failed = False
    with tempfile.TemporaryDirectory(prefix="lockstep-disk-", dir=ROOT / "target") as directory:
        directory = pathlib.Path(directory)
        ours, theirs = directory / "ours.raw", directory / "theirs.raw"
        make(ours, size)
        make(theirs, size)
        server = DiskServer(directory, ours, "vm", LOCKSTEP)
        with server, qemu_nbd(theirs) as uri:
            for name, work, goal in WORK:
                rates = {"lockstep": [], "qemu-nbd": []}
                for _ in range(options.rounds):
                    for who, where in [("lockstep", server.stock), ("qemu-nbd", uri)]:
                        rates[who].append(rate(where, work, size, options.seconds, directory))
                medians = {who: statistics.median(values) for who, values in rates.items()}
                ratio = medians["lockstep"] / medians["qemu-nbd"]
                missed = goal is not None and ratio < goal
                failed |= missed
                figures = ", ".join(f"{who} {value:,.0f}/s" for who, value in medians.items())
                wanted = f" (goal {goal})" if goal is not None else ""
                print(f"{'FAIL' if missed else 'ok  '} {name}: {ratio:.2f}{wanted}; {figures}", flush=True)
    sys.exit(failed)


main()
