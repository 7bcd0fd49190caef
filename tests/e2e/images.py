#!/usr/bin/env python3
"""A full Debian on qcow2 images: compressed and written in place, under an overlay, and killed meanwhile.

tests/e2e/images.py [--lockstep FILE]. Needs the Debian package `qemu-utils` and fsck. The image of `lockstep
image debian` is made a compressed qcow2 image. The guest boots from it twice, each time writes files, makes
them durable and powers off; the first image of an overlay must not change. Then the guest is killed at the
moment when it has said that its files are durable. After each, QEMU must find no error in the image, `fsck
-fn` none in the file system, and the files must be there.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "bench"))
from machines import LOCKSTEP, Console, Failed, vm_flags  # noqa: E402

# Writes 64 files of 1 MiB and their sums, changes half of them, and makes all of that durable.
WRITE = (
    "mkdir /root/{0} && cd /root/{0} && for i in $(seq 64); do head -c 1M /dev/urandom > $i; done; sync; "
    "for i in $(seq 1 2 64); do head -c 1M /dev/urandom > $i; done; rm -f 2; sync; sha256sum * > ../{0}.sum; "
    "sync; fstrim / ; sync; echo dur''able {0}"
)
CHECK = "cd /root/{0} && sha256sum -c --quiet ../{0}.sum && echo wh''ole {0}"


def qemu_img(*arguments):
    subprocess.run(["qemu-img", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


def run(program, files, disk, dialogue, end):
    """Boots, logs in, types each command and waits for the words behind it, and ends as `end` says."""
    command = [program, "run", *vm_flags(files, "1G", disk=disk), "--serial", "stdio"]
    pipes = dict.fromkeys(["stdin", "stdout", "stderr"], subprocess.PIPE)
    process = subprocess.Popen([*map(str, command)], **pipes)
    try:
        console = Console.of_process(process)
        console.wait_for("login: ")
        console.type("root")
        for typed, shown in dialogue:
            console.wait_for("# ")
            console.type(typed)
            console.wait_for(shown)
        if end == "poweroff":
            console.wait_for("# ")
            console.type("poweroff")
            while console.read():
                pass
            if process.wait() != 0:
                raise Failed(f"it ended with {process.returncode}")
    finally:
        process.kill()
        process.communicate()


def is_right(disk, directory, leaks):
    """QEMU finds no error in the image, and fsck none in the file system in it."""
    found = subprocess.run(["qemu-img", "check", disk], capture_output=True, text=True)
    if found.returncode != 0 and not (leaks and found.returncode == 3):
        raise Failed(f"qemu-img check: {found.stdout}{found.stderr}")
    raw = directory / "out.raw"
    qemu_img("convert", "-O", "raw", disk, raw)
    if leaks:
        # The journal is run as the next boot would run it.
        subprocess.run(["fsck.ext4", "-p", raw], stdout=subprocess.DEVNULL, check=False)
    subprocess.run(["fsck.ext4", "-fn", raw], check=True, capture_output=True)
    raw.unlink()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--lockstep", default=LOCKSTEP, type=pathlib.Path, help="another build")
    program = parser.parse_args().lockstep
    made = subprocess.run([program, "image", "debian", "--json"], check=True, stdout=subprocess.PIPE)
    files = json.loads(made.stdout)
    with tempfile.TemporaryDirectory(prefix="lockstep-e2e-") as name:
        directory = pathlib.Path(name)
        disk, overlay = directory / "debian.qcow2", directory / "mine.qcow2"
        qemu_img("convert", "-c", "-f", "raw", "-O", "qcow2", files["disk"], disk)
        before = disk.stat()
        over = f"{disk},overlay={overlay}"
        run(program, files, over, [(WRITE.format("a"), "durable a")], "poweroff")
        is_right(overlay, directory, False)
        run(program, files, over, [(CHECK.format("a"), "whole a"), (WRITE.format("b"), "durable b")], "kill")
        is_right(overlay, directory, True)
        run(program, files, over, [(CHECK.format(part), f"whole {part}") for part in "ab"], "poweroff")
        is_right(overlay, directory, True)
        after = disk.stat()
        if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
            raise Failed("the image below the overlay was changed")
        print("ok      an overlay over a compressed image", flush=True)
        run(program, files, disk, [(WRITE.format("a"), "durable a")], "poweroff")
        is_right(disk, directory, False)
        run(program, files, disk, [(CHECK.format("a"), "whole a"), (WRITE.format("b"), "durable b")], "kill")
        is_right(disk, directory, True)
        run(program, files, disk, [(CHECK.format(part), f"whole {part}") for part in "ab"], "poweroff")
        is_right(disk, directory, True)
        print("ok      a compressed image, written in place", flush=True)


main()
