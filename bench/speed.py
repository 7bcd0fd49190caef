#!/usr/bin/env python3
"""How fast the guest computes: `run` against QEMU's TCG, the same kernel, initramfs and commands, taking turns.

bench/speed.py [ROUNDS]. Needs Debian's qemu-system-misc. A ratio above 1 means that Lockstep takes longer.
"""

import json
import subprocess
import sys
import tempfile
import time

from common import LOCKSTEP, Console, build, median, qemu, vm_flags

WORK = {
    "sha256": "for i in 1 2 3 4 5 6 7 8; do sha256sum /bin/busybox; done >/dev/null",
    "gzip": "gzip -c /bin/busybox | gunzip -c >/dev/null",
    "awk float": "awk 'BEGIN { for (i = 1; i < 300000; i++) s += i / 3 * (i % 7); print s }'",
    "sort": "seq 1 20000 | awk '{ print ($1 * 7919) % 20011 }' | sort -n >/dev/null",
    "fork": "i=0; while [ $i -lt 300 ]; do /bin/busybox true; i=$((i + 1)); done",
    "pipe": "dd if=/dev/zero bs=512 count=40000 2>/dev/null | cat | wc -c",
    "shell": "i=0; while [ $i -lt 60000 ]; do i=$((i + 1)); done",
}


def one_round(image):
    """{(entry, machine): seconds}"""
    took = {}
    machines = {
        "lockstep": [LOCKSTEP, "run", *vm_flags(image, "lockstep.shell"), "--serial", "stdio"],
        "qemu": qemu(image, "lockstep.shell"),
    }
    for name, command in machines.items():
        begin = time.monotonic()
        console = Console(command)
        console.wait_for(rb"# (\x1b\[6n)?$")
        took["boot", name] = time.monotonic() - begin
        for entry, work in WORK.items():
            took[entry, name] = console.seconds(work)
        console.end()
    return took


def mips(image):
    """Steps a second of host time, over a whole boot to power-off."""
    with tempfile.TemporaryDirectory() as directory:
        begin = time.monotonic()
        recorded = subprocess.run(
            [LOCKSTEP, "record", "--json", *vm_flags(image, "lockstep.run=poweroff"), "--serial", "none"]
            + ["-o", f"{directory}/log"],
            check=True,
            stdout=subprocess.PIPE,
        )
        seconds = time.monotonic() - begin
        begin = time.monotonic()
        subprocess.run(
            [LOCKSTEP, "replay", f"{directory}/log", "--json", *vm_flags(image, "lockstep.run=poweroff")],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        replay = time.monotonic() - begin
    steps = json.loads(recorded.stdout.splitlines()[-1])["step"]
    print(f"a boot to power-off: {steps / 1e6:.0f} M steps; recorded in {seconds:.2f} s ({steps / seconds / 1e6:.0f}")
    print(f"million steps a second, waiting included), replayed in {replay:.2f} s ({steps / replay / 1e6:.0f})")


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    image = build()
    mips(image)
    print(subprocess.run(["qemu-system-riscv64", "--version"], check=True, capture_output=True, text=True).stdout.splitlines()[0])
    results = [one_round(image) for _ in range(rounds)]
    print(f"median of {rounds} rounds  {'lockstep s':>10} {'qemu s':>8} {'ratio':>7}  (ratios of the rounds)")
    product = 1
    for entry in ["boot", *WORK]:
        ratios = [took[entry, "lockstep"] / took[entry, "qemu"] for took in results]
        ours, theirs = (median([took[entry, name] for took in results]) for name in ["lockstep", "qemu"])
        product *= median(ratios)
        print(f"{entry:<19} {ours:10.2f} {theirs:8.2f} {median(ratios):7.2f}  ({min(ratios):.2f} to {max(ratios):.2f})")
    print(f"geometric mean of the ratios: {product ** (1 / (len(WORK) + 1)):.2f}")


main()
