#!/usr/bin/env python3
"""Boots Linux twice and more: once untouched, and then while it is cloned all the time, as a seed draws it.

tests/e2e/clones.py [--image appliance|debian] [--harts N ...] [--seed S ...]. Default: the appliance, from
power-on to power-off, with 1 and 4 harts, seeds 1 and 2; of `debian` the boot to its login, with its disk.

The example `boot` of crate `machine` runs the guest with a clock that passes with the steps alone, so all
runs are the same. In the later ones, rounds begin, pages are frozen, copied and thawed at random moments; a
clone that is finished is compared with its guest at the cut, and takes its place if the guest has not run on.
One of two drops caches at random as well. Digests every 100,000 steps must be those of the untouched guest,
and so must the end. Exits with 1 at the first difference.
"""

import argparse
import pathlib
import re
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "bench"))
from machines import LOCKSTEP, ROOT, Failed, image  # noqa: E402

BOOT = LOCKSTEP.parent / "examples/boot"
EVERY = "100000"
ENDS = {
    "appliance": (["--append", "lockstep.run=poweroff", "--memory", "512"], "powered off: Off at step"),
    "debian": (["--memory", "1024", "--until", "login: "], "text seen at step"),
}


def boot(kind, files, harts, *more):
    """Boots once. The digests with their steps, how it ended and with which digest, and how many clones there
    were; prints how long it took."""
    flags, end = ENDS[kind]
    flags = [f"{files['append']} {flag}" if flag.startswith("lockstep.") else flag for flag in flags]
    if kind == "debian":
        flags += ["--append", files["append"], "--disk", files["disk"]]
    parts = [files[part] for part in ["kernel", "initrd", "firmware"]]
    command = [BOOT, *parts, "--virtual", "--every", EVERY, "--harts", harts, *flags, *more]
    begin = time.monotonic()
    with tempfile.TemporaryFile("w+", errors="replace") as told:
        status = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=told)
        told.seek(0)
        lines = told.read().splitlines()
    if status.returncode != 0:
        raise Failed("\n".join([f"`{' '.join(map(str, command))}` failed:", *lines[-20:]]))
    digests = [line for line in lines if re.fullmatch(r"\d+ [0-9a-f]{32}", line)]
    ends = [line.split(" in ")[0] for line in lines if line.startswith((end, "digest "))]
    if len(ends) != 2:
        raise Failed("\n".join(["the guest did not come to its end:", *lines[-20:]]))
    clones = sum(line.startswith("clone ") for line in lines)
    took = time.monotonic() - begin
    what = " ".join(more) or "untouched"
    print(f"  {what}: {ends[0]}, {len(digests)} digests, {clones} clones, {took:.0f} s", flush=True)
    return [*digests, *ends], clones


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image", choices=ENDS, default="appliance")
    parser.add_argument("--harts", nargs="+", default=["1", "4"])
    parser.add_argument("--seed", nargs="+", default=["1", "2"])
    options = parser.parse_args()
    example = ["cargo", "build", "--release", "--quiet", "--package", "machine", "--example", "boot"]
    subprocess.run(example, cwd=ROOT, check=True)
    files = image(options.image)
    for harts in options.harts:
        print(f"{options.image}, {harts} harts", flush=True)
        expected, _ = boot(options.image, files, harts)
        for number, seed in enumerate(options.seed):
            # A zeal whose lowest bits are set suits long runs.
            zeal = ["--zeal", str(int(seed) * 8 + 7)] if number % 2 else []
            seen, clones = boot(options.image, files, harts, "--clone", seed, *zeal)
            for one, other in zip(expected, seen):
                if one != other:
                    raise Failed(f"untouched `{one}`, cloned `{other}`")
            if len(seen) != len(expected) or clones < 10:
                raise Failed(f"{len(seen)} and not {len(expected)} digests, {clones} clones")
    print("all digests and ends are equal")


main()
