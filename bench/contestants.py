"""The machines that `bench/run` compares.

Lockstep alone, beside another Lockstep, recording, and as a pair; QEMU's TCG, and QEMU recording. With BEFORE
in the environment an earlier build of Lockstep takes part too: alone, recording, and as a pair. Beside them
stands the host itself, for those entries that are a program of ours.
"""

import contextlib
import os
import pathlib
import subprocess
import tempfile
import time

import guests
from machines import (
    BEFORE,
    LOCKSTEP,
    QEMU,
    Console,
    Failed,
    copy_of,
    events,
    figures_flags,
    free_port,
    pair_flags,
    start,
    start_gateway,
    vm_flags,
)

# How often a line is typed again until the guest has taken it.
TYPE_AGAIN_SECONDS = 2
END_SECONDS_MAX = 600
# The name of the machine that is none.
NATIVE = "native"
# The extensions of Lockstep's hart (`isa.rs`): kernels use what they find.
CPU = (
    "rv64,v=false,h=false,zba=true,zbb=true,zbc=false,zbs=true,zfa=false,zawrs=false,zicond=true,"
    "zicbom=true,zicboz=true,sstc=true,svadu=true,svinval=true,svnapot=true,svpbmt=false"
)


class Native:
    """The host itself: the same programs, compiled for its processor."""

    def __init__(self, name, guest):
        del guest
        self.name = name
        self.directory = tempfile.TemporaryDirectory(prefix="lockstep-bench-")
        self.programs = {}
        for program in guests.PROGRAMS:
            path = pathlib.Path(self.directory.name) / program
            guests.compile_program(["gcc"], program, path)
            listed = subprocess.run([path], stdout=subprocess.PIPE, text=True, check=True)
            self.programs |= {entry: path for entry in listed.stdout.split()}

    def close(self):
        self.directory.cleanup()

    def does(self, entry):
        """Whether an entry is nothing but one of the programs."""
        return entry.kind in ["computing", "floating"] and entry.name in self.programs

    def work(self, name):
        """Host seconds of one program."""
        begin = time.monotonic()
        subprocess.run([self.programs[name], name], stdout=subprocess.DEVNULL, check=True)
        return time.monotonic() - begin


class Contestant:
    """One machine of one round, and what it takes the host to run it."""

    def __init__(self, name, guest):
        self.name, self.guest, self.number = name, guest, 0
        self.program = BEFORE if name.startswith("before-") else LOCKSTEP
        # Another machine that does the same work at the same time, unmeasured.
        self.twin = None
        self.stack = contextlib.ExitStack()
        try:
            self.directory = pathlib.Path(
                self.stack.enter_context(tempfile.TemporaryDirectory(prefix="lockstep-bench-"))
            )
            self.disk = guest.disk and copy_of(guest.disk, self.directory / "disk.raw")
            # What was copied must not be written out while somebody is measured.
            os.sync()
            self.begin = time.monotonic()
            self.process = KINDS[name](self)
            self.console = Console.of_process(self.process)
        except BaseException:
            self.close()
            raise

    def close(self):
        self.stack.close()

    def does(self, entry):
        """Whether this machine can do an entry: a whole machine can do all."""
        del entry
        return True

    def boot(self):
        """Host seconds from the start of the program until the guest waits for work."""
        if not self.console.wait_for(guests.READY, guests.BOOT_SECONDS_MAX):
            raise Failed(
                f"not booted within {guests.BOOT_SECONDS_MAX} s; its last words: {self.console.text[-500:]}"
            )
        return time.monotonic() - self.begin

    def work(self, name):
        """Host seconds between the guest's words that a piece of work begins and that it has ended."""
        if self.twin:
            self.twin.begin_work(name)
        self.begin_work(name)
        begin = time.monotonic()
        self.end_work()
        took = time.monotonic() - begin
        if self.twin:
            self.twin.end_work()
        return took

    def begin_work(self, name):
        self.number += 1
        deadline = time.monotonic() + END_SECONDS_MAX
        while True:
            self.console.type(f"{name} {self.number}")
            if self.console.wait_for(rf"bench: begin {self.number}\r?\n", TYPE_AGAIN_SECONDS):
                break
            if time.monotonic() > deadline:
                raise Failed(f"the guest did not take the line in {END_SECONDS_MAX} s")

    def end_work(self):
        end = self.console.wait_for(rf"bench: end {self.number} (\d+)\r?\n", END_SECONDS_MAX)
        if not end or end[1] != "0":
            raise Failed(
                f"the guest ended with status {end[1]}" if end else f"no end within {END_SECONDS_MAX} s"
            )

    def lags(self, begin_ns, end_ns):
        """Milliseconds that the backup was behind, by the primary's figures of that time (CLOCK_BOOTTIME)."""
        return [
            event["lag_ms"]
            for event in events(self.directory / "events")
            if event["event"] == "figures"
            and event["role"] == "primary"
            and begin_ns <= event["time_ns"] <= end_ns
        ]

    def is_whole(self):
        """Whether the pair still has its backup."""
        return not any(
            event["event"] == "role" and event["role"] == "solo"
            for event in events(self.directory / "events")
        )

    def on_pipes(self, command):
        """Starts the process whose standard streams are the guest's console."""
        return start(self.stack, command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def lockstep_flags(self):
        ports = start_gateway(self.stack, self.directory, [self.guest.port], self.program)
        self.port = ports[self.guest.port]
        flags = vm_flags(self.guest.image, self.guest.memory, self.guest.append, self.disk)
        return [*flags, "--net", f"gateway={self.directory / 'gateway'}", "--serial", "stdio"]


def run(machine):
    return machine.on_pipes([machine.program, "run", *machine.lockstep_flags()])


def twin(machine):
    """What a busy neighbour costs on this host, without any protection: as much as a pair's backup would."""
    machine.twin = machine.stack.enter_context(contextlib.closing(Contestant("run", machine.guest)))
    machine.twin.boot()
    machine.begin = time.monotonic()
    return run(machine)


def record(machine):
    return machine.on_pipes(
        [machine.program, "record", *machine.lockstep_flags(), "-o", machine.directory / "log"]
    )


def pair(machine):
    flags = [*pair_flags(machine.directory), *machine.lockstep_flags()]
    start(machine.stack, [machine.program, "backup", *flags])
    return machine.on_pipes(
        [
            machine.program,
            "primary",
            *flags,
            "--events",
            machine.directory / "events",
            *figures_flags(machine.program),
        ]
    )


def qemu(machine):
    """The same machine under QEMU's TCG."""
    return machine.on_pipes([*qemu_command(machine), *qemu_disk(machine, [])])


def recording_qemu(machine):
    """The same as `qemu`, with all inputs written to a file, for which network and disk need filters."""
    command = [*qemu_command(machine), "-icount", f"shift=auto,rr=record,rrfile={machine.directory / 'rr'}"]
    command += ["-object", "filter-replay,id=replay,netdev=net"]
    return machine.on_pipes(
        [*command, *qemu_disk(machine, ["-drive", "driver=blkreplay,if=none,image=file,id=disk"])]
    )


def qemu_command(machine):
    guest, machine.port = machine.guest, free_port()
    return [
        QEMU, "-M", "virt", "-cpu", CPU,
        "-accel", "tcg,thread=single", "-m", guest.memory,
        "-nographic", "-monitor", "none", "-serial", "stdio",
        "-global", "virtio-mmio.force-legacy=false", "-device", "virtio-rng-device",
        "-kernel", guest.image["kernel"], "-initrd", guest.image["initrd"], "-bios", guest.image["firmware"],
        "-append", f"{guest.image['append']} {guest.append}".strip(),
        "-netdev", f"user,id=net,hostfwd=tcp:127.0.0.1:{machine.port}-:{guest.port}",
        "-device", "virtio-net-device,netdev=net",
    ]  # fmt: skip


def qemu_disk(machine, recorder):
    """Flags for the guest's disk, if it has one; `recorder` is a drive between it and the file."""
    if not machine.disk:
        return []
    drive = f"file={machine.disk},format=raw,if=none,id={'file' if recorder else 'disk'}"
    return ["-drive", drive, *recorder, "-device", "virtio-blk-device,drive=disk"]


# The machines stand in this order so that those which differ least are measured side by side.
KINDS = {
    "run": run,
    "twin": twin,
    "record": record,
    "pair": pair,
    "qemu": qemu,
    "rr": recording_qemu,
    NATIVE: Native,
}
if BEFORE:
    KINDS |= {"before-run": run, "before-record": record, "before-pair": pair}


def contestant(name, guest):
    """The machine with a name, with this guest where it has one."""
    return Native(name, guest) if name == NATIVE else Contestant(name, guest)
