#!/usr/bin/env python3
"""The console of real guests: long pastes, readers that stand still, breaks; and a disk that grows.

tests/e2e/console.py [--lockstep FILE] [--seconds N] [CASE ...]. Default: all cases with the release build of
this tree. Needs the Debian package `u-boot-qemu` and the appliance's image, whose kernel and shell are used.
--seconds is the time for which a reader stands still. A line for each case with its figures; the exit code is
0 only if all did as they should.
"""

import argparse
import contextlib
import hashlib
import os
import pathlib
import re
import select
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "bench"))
from machines import LOCKSTEP, Console, Failed, image, pair_flags, vm_flags  # noqa: E402

U_BOOT = pathlib.Path("/usr/lib/u-boot/qemu-riscv64/u-boot.bin")
# How long a guest may say nothing of what is waited for, on a busy host.
PATIENCE = 300
PASTED = 1 << 20
PRINTED = 16 << 20
MIB = 1 << 20
# The guest's terminal passes on every byte, and `head` takes as many as are pasted.
TAKE = "PS1=; stty raw -echo; echo go; head -c {} >/tmp/pasted; stty sane; echo; md5sum /tmp/pasted"


class Machines:
    """Starts machines with a console on a socket; all of them end with the `with` block."""

    def __init__(self, program, directory, stack):
        self.program, self.directory, self.stack = program, directory, stack
        self.flags = vm_flags(image("appliance"), "256M", "lockstep.run=none lockstep.shell")

    def start(self, verb, *flags, kind="unix"):
        """A machine, and its console's socket, which may not be there yet."""
        place = self.directory / f"{verb}.console"
        command = [self.program, verb, *flags, "--serial", f"{kind}:{place}"]
        errors = (self.directory / f"{verb}.errors").open("w")
        machine = subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL, stderr=errors)
        self.stack.callback(lambda: (machine.kill(), machine.wait()))
        return machine, place

    def console(self, place):
        return Console.at(self.stack, place)


def waited(console, pattern):
    """The match of a pattern that the guest must print."""
    match = console.wait_for(pattern, PATIENCE)
    if match is None:
        raise Failed(f"the guest does not print {pattern!r}; its last words: {console.text[-1000:]}")
    return match


def paste(console, text):
    """Writes the text as fast as the console takes it, and gives the seconds that this took."""
    began, rest = time.monotonic(), memoryview(text)
    while rest:
        readable, writable, _ = select.select([console.reading], [console.writing], [], PATIENCE)
        if not (readable or writable):
            raise Failed(f"{len(rest)} bytes are not taken; the last words: {console.text[-1000:]}")
        if readable:
            console.read()
        if writable:
            rest = rest[os.write(console.writing, rest[:4096]) :]
    return time.monotonic() - began


def letters(count):
    """Random letters that no terminal takes for anything else."""
    return os.urandom(count // 2).hex().encode()


def paste_into_shell(console):
    """Pastes into the shell of a guest's Linux; gives the digest of what was pasted, and a figure."""
    waited(console, "# ")
    console.type(TAKE.format(PASTED))
    waited(console, "\ngo")
    text = letters(PASTED)
    seconds = paste(console, text)
    digest = hashlib.md5(text).hexdigest()
    if waited(console, r"(\w{32})  /tmp/pasted")[1] != digest:
        raise Failed("what arrived is something else")
    return digest, f"{len(text):,} bytes whole, {len(text) / seconds / 1000:.0f} kB/s"


def linux(machines):
    _, place = machines.start("run", *machines.flags)
    return paste_into_shell(machines.console(place))[1]


def pair(machines):
    """A paste, the death of the primary, and the survivor's copy of what was pasted."""
    flags = [*machines.flags, *pair_flags(machines.directory)]
    _, survivors = machines.start("backup", *flags)
    primary, place = machines.start("primary", *flags)
    digest, figure = paste_into_shell(machines.console(place))
    primary.kill()
    console = machines.console(survivors)
    # What is typed before the survivor is live reaches nobody.
    found = None
    while not found:
        console.type("md5sum /tmp/pasted")
        found = console.wait_for(r"(\w{32})  /tmp/pasted", 2)
    if found[1] != digest:
        raise Failed("the survivor has something else")
    return f"{figure}; the survivor has it, too"


def firmware(machines):
    """Lines for the prompt of U-Boot in M-mode, each of which is answered."""
    _, place = machines.start("run", "--firmware", U_BOOT, "--memory", "256M")
    console = machines.console(place)
    # The question may have been asked before this end of the console was there.
    waited(console, "Hit any key|=> ")
    console.type("")
    waited(console, "=> ")
    count = PASTED // 15
    text = b"".join(b"echo n%08d\n" % number for number in range(count))
    seconds = paste(console, text)
    console.type('echo the""end')
    begun = console.text
    while "\ntheend" not in console.text and console.read(PATIENCE):
        if console.text == begun:
            raise Failed(f"U-Boot has stopped; its last words: {console.text[-1000:]}")
        begun = console.text
    if [int(number) for number in re.findall(r"\nn(\d{8})", console.text)] != [*range(count)]:
        raise Failed("not every line was answered, or not in order")
    return f"{len(text):,} bytes, {count:,} lines answered in order, {len(text) / seconds / 1000:.0f} kB/s"


def reader(machines, still):
    """A reader who stands still while the guest prints more than is kept is told how much is missing."""
    _, place = machines.start("run", *machines.flags)
    console = machines.console(place)
    waited(console, "# ")
    command = f"head -c {PRINTED} /dev/zero | tr '\\0' .; echo; echo the\"\"end"
    console.type(f"PS1=; stty raw -echo; echo go; {command}")
    waited(console, "\ngo")
    # The guest prints all this while nobody reads; the sleep is what is tested.
    time.sleep(still)
    while "theend" not in console.text:
        if not console.read(10) or not select.select([console.reading], [], [], 10)[0]:
            break
    notices = re.findall(r"\[lockstep: ([\d,]+) bytes", console.text)
    told = [int(number.replace(",", "")) for number in notices]
    read = console.text.count(".")
    # The notice may count a few bytes around the dots as well.
    missing = PRINTED - read
    if not missing <= sum(told) <= missing + 64:
        raise Failed(f"{read:,} bytes read, {sum(told):,} told as lost, of {PRINTED:,}")
    return f"{still} s still: {read:,} bytes read, {sum(told):,} told as lost, together all of them"


def sysrq(machines):
    """Ctrl-A b on a socket with keys is a break, which Linux takes for SysRq."""
    _, place = machines.start("run", *machines.flags, kind="keys")
    console = machines.console(place)
    waited(console, "# ")
    os.write(console.writing, b"\x01bh")
    waited(console, "sysrq: HELP")
    return "Ctrl-A b h: the kernel lists its SysRq commands"


def disk(machines):
    """A disk that grows while the guest runs: Linux sees it and reads what is new."""
    path = machines.directory / "disk.raw"
    with path.open("wb") as file:
        file.truncate(64 * MIB)
    _, place = machines.start("run", *machines.flags, "--disk", path)
    console = machines.console(place)
    waited(console, "# ")
    console.type("insmod /usr/lib/lockstep/virtio_blk.ko")
    os.truncate(path, 128 * MIB)
    wanted = 128 * MIB // 512
    grown = f"[ $(cat /sys/block/vda/size) = {wanted} ]"
    console.type(f"PS1=; until {grown}; do sleep 0.1; done; echo has''grown")
    waited(console, "hasgrown")
    console.type("dd if=/dev/vda of=/dev/null bs=1M skip=100 count=20 && echo read''able")
    waited(console, "readable")
    return "64 MiB became 128 MiB, and the new ones are read"


CASES = {
    "paste-linux": linux,
    "paste-pair": pair,
    "paste-firmware": firmware,
    "still-reader": reader,
    "break": sysrq,
    "disk-grows": disk,
}


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    arguments.add_argument("--lockstep", type=pathlib.Path, default=LOCKSTEP)
    arguments.add_argument("--seconds", type=int, default=60)
    arguments.add_argument("cases", nargs="*", metavar="CASE", default=[*CASES], help=", ".join(CASES))
    asked = arguments.parse_args()
    failed = 0
    for name in asked.cases:
        play = CASES[name]
        with contextlib.ExitStack() as stack:
            directory = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
            machines = Machines(asked.lockstep, directory, stack)
            try:
                said = play(machines, asked.seconds) if play is reader else play(machines)
                print(f"{name:15} ok      {said}", flush=True)
            except Failed as error:
                failed += 1
                print(f"{name:15} FAILED  {error}", flush=True)
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
