#!/usr/bin/env python3
"""A recorded boot of a full Debian, from power-on through a login to power-off, replayed in every way that
must not matter.

tests/e2e/replay.py [HARTS ...]. Default: 1 and 4. Each replay compares every output and digest by itself;
here the ends are compared: plain, with random cache drops and odd slices, and from a snapshot in the middle.
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "bench"))
from machines import LOCKSTEP, Console, copy_of, image, vm_flags  # noqa: E402


def log_in_and_power_off(command):
    """Runs `command` with a person at its console, which is on standard error; returns its result."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe)
    console = Console(process.stderr.fileno(), process.stdin.fileno())
    for prompt, answer in [("login: ", "root"), ("# ", "poweroff")]:
        console.wait_for(prompt)
        console.type(answer)
    while console.read():
        pass
    result = process.stdout.read()
    if process.wait() != 0:
        raise SystemExit("recording has failed")
    return json.loads(result)


def main():
    files = image("debian")
    for harts in sys.argv[1:] or ["1", "4"]:
        with tempfile.TemporaryDirectory(prefix="lockstep-e2e-") as name:
            directory = pathlib.Path(name)
            disk = copy_of(files["disk"], directory / "disk.raw")
            flags = [*vm_flags(files, "1G", disk=disk), "--harts", harts]
            log, snapshot = directory / "log", directory / "snapshot"
            begin = time.monotonic()
            recorded = log_in_and_power_off(
                [LOCKSTEP, "record", "--json", "-o", log, *flags, "--serial", "stdio"]
            )
            took = time.monotonic() - begin
            print(
                f"{harts} harts: {recorded['step']} steps, {log.stat().st_size} bytes of log, {took:.1f} s",
                flush=True,
            )

            def replay(what, *more):
                begin = time.monotonic()
                output = subprocess.run(
                    [LOCKSTEP, "replay", log, "--json", *flags, *more], check=True, stdout=subprocess.PIPE
                )
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
