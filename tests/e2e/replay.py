#!/usr/bin/env python3
"""A recorded boot of a full Debian, from power-on through a login to power-off, replayed in every way that must not matter.

tests/e2e/replay.py [HARTS ...]. Default: 1 and 4. Each replay compares every output and digest by itself; here the ends
are compared: plain, with random cache drops and odd slices, and from a snapshot in the middle.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
LOCKSTEP = ROOT / "target/release/lockstep"


def log_in_and_power_off(command):
    """Runs `command` with a person at its console; returns what it printed behind the console's end."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    text = b""
    for prompt, answer in [(b"login: ", b"root\n"), (b"# ", b"poweroff\n")]:
        while prompt not in text:
            piece = os.read(process.stdout.fileno(), 65536)
            if not piece:
                raise SystemExit(f"no {prompt!r} came:\n{text.decode(errors='replace')[-3000:]}")
            text += piece
        text = b""
        process.stdin.write(answer)
        process.stdin.flush()
    last = process.stdout.read().splitlines()[-1]
    if process.wait() != 0:
        raise SystemExit("recording has failed")
    return json.loads(last)


def main():
    image = json.loads(subprocess.run([LOCKSTEP, "image", "debian", "--json"], check=True, stdout=subprocess.PIPE).stdout)
    for harts in sys.argv[1:] or ["1", "4"]:
        with tempfile.TemporaryDirectory(prefix="lockstep-e2e-") as name:
            directory = pathlib.Path(name)
            subprocess.run(["cp", "--sparse=always", image["disk"], directory / "disk.raw"], check=True)
            flags = ["--memory", "1G", "--harts", harts, "--append", image["append"], "--disk", directory / "disk.raw"]
            for part in ["kernel", "initrd", "firmware"]:
                flags += [f"--{part}", image[part]]
            log, snapshot = directory / "log", directory / "snapshot"
            begin = time.monotonic()
            recorded = log_in_and_power_off([LOCKSTEP, "record", "--json", "-o", log, *flags, "--serial", "stdio"])
            took = time.monotonic() - begin
            print(f"{harts} harts: {recorded['step']} steps, {log.stat().st_size} bytes of log, {took:.1f} s", flush=True)

            def replay(what, *more):
                begin = time.monotonic()
                output = subprocess.run([LOCKSTEP, "replay", log, "--json", *flags, *more], check=True, stdout=subprocess.PIPE)
                end = json.loads(output.stdout.splitlines()[-1])
                took = time.monotonic() - begin
                print(f"  {what}: {end['digests_compared']} digests equal, {took:.1f} s", flush=True)
                return end

            plain = replay("plain")
            zealous = replay("cache drops, slices of 1,234,567 steps", "--zeal", "7", "--slice", "1234567")
            replay("to the middle", "--until", str(plain["step"] // 2), "--save", snapshot)
            later = replay("from the snapshot there", "--from", snapshot)
            assert plain["step"] == recorded["step"] and plain["digests_compared"] == recorded["digests"] > 10
            assert zealous["digest"] == later["digest"] == plain["digest"], "the ends differ"
            print("  the ends are equal")


main()
