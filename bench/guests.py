"""The two guests of `bench/run`: an appliance, and a Debian with a compiler and a filled database.

Both wait at guest/gate.sh on their console for the name of a piece of work, and both have the network.
"""

import contextlib
import dataclasses
import hashlib
import os
import pathlib
import re
import subprocess
import sys
import tempfile

from machines import LOCKSTEP, ROOT, Console, Failed, copy_of, image, postgres, start, start_gateway
from machines import vm_flags, wait_for_postgres

GUEST = ROOT / "bench/guest"
REDIS, POSTGRES = 6379, 5432
# The programs of ours, each a source in guest.
PROGRAMS = ["work", "float"]
READY = r"bench: ready\r?\n"
BOOT_SECONDS_MAX = 600

UNIT = """\
[Unit]
Description=The gate of bench/run, in place of a login on the console
After=postgresql.service
Conflicts=serial-getty@ttyS0.service

[Service]
Type=idle
ExecStart=/bench/gate
StandardInput=tty
StandardOutput=tty
TTYPath=/dev/ttyS0
"""

# Rows that the database would clean up on its own would be cleaned up in somebody else's turn.
POSTGRES_SETTINGS = "autovacuum = off\ncheckpoint_timeout = 1h\n"


def compile_program(compiler, name, to):
    """Compiles one of PROGRAMS, for the guest and for the host in the same way."""
    subprocess.run([*compiler, "-O2", "-o", to, GUEST / f"{name}.c", "-lm"], check=True)


@dataclasses.dataclass
class Guest:
    """What all machines boot: the same kernel, initramfs, command line and disk."""

    image: dict
    memory: str
    append: str
    port: int
    disk: pathlib.Path | None = None


def appliance(directory):
    """Debian's kernel with an initramfs: the image's, and behind it the programs of guest and the gate."""
    files = image("appliance")
    scripts = directory / "etc/lockstep/scripts"
    scripts.mkdir(parents=True)
    (directory / "bench").mkdir()
    for program in PROGRAMS:
        compile_program(["riscv64-linux-gnu-gcc", "-static"], program, directory / "bench" / program)
    gate = scripts / "gate"
    gate.write_text((GUEST / "gate.sh").read_text())
    gate.chmod(0o755)
    names = [
        "etc",
        "etc/lockstep",
        "etc/lockstep/scripts",
        "etc/lockstep/scripts/gate",
        "bench",
        *(f"bench/{program}" for program in PROGRAMS),
    ]
    archive = subprocess.run(
        ["cpio", "-o", "-H", "newc", "--quiet"],
        input="\n".join(names).encode(),
        cwd=directory,
        check=True,
        capture_output=True,
    )
    initrd = directory / "initrd"
    initrd.write_bytes(pathlib.Path(files["initrd"]).read_bytes() + archive.stdout)
    return Guest({**files, "initrd": str(initrd)}, "512M", "lockstep.script=gate", REDIS)


def debian(directory):
    """A whole Debian with gcc, and pgbench's tables in its database.

    Its disk is made once and kept beside the build.
    """
    del directory
    files = image("debian", "gcc", "libc6-dev")
    parts = [
        UNIT,
        POSTGRES_SETTINGS,
        files["disk"],
        *((GUEST / name).read_text() for name in ["gate.sh", "work.c"]),
    ]
    version = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    disk = LOCKSTEP.parent / f"bench-debian-{version}.raw"
    guest = Guest(files, "1G", "systemd.show_status=0", POSTGRES, disk)
    if not disk.exists():
        print("preparing the disk of the Debian guest", file=sys.stderr)
        for old in LOCKSTEP.parent.glob("bench-debian-*"):
            old.unlink()
        unfinished = disk.with_suffix(".unfinished")
        copy_of(files["disk"], unfinished)
        install_gate(unfinished)
        fill_database(dataclasses.replace(guest, disk=unfinished))
        unfinished.rename(disk)
    return guest


def install_gate(disk):
    """Puts the gate and what it needs on an ext4 disk that nobody has mounted."""
    with tempfile.TemporaryDirectory(prefix="lockstep-bench-") as name:
        directory = pathlib.Path(name)
        for file, text in [
            ("unit", UNIT),
            ("settings", POSTGRES_SETTINGS),
            ("gate", (GUEST / "gate.sh").read_text()),
        ]:
            (directory / file).write_text(text)
            (directory / file).chmod(0o755 if file == "gate" else 0o644)
        units = "/etc/systemd/system"
        # A line for each name: /inode/mode/owner/group/name/size/
        listing = debugfs(disk, ["ls -p /etc/postgresql"])
        version = re.search(r"(?m)^(?:/\d+){4}/(\d+)/", listing)[1]
        debugfs(disk, [
            "mkdir /bench",
            f"write {GUEST / 'work.c'} /bench/work.c",
            f"write {directory / 'gate'} /bench/gate",
            f"write {directory / 'unit'} {units}/bench.service",
            f"write {directory / 'settings'} /etc/postgresql/{version}/main/conf.d/zz-bench.conf",
            f"symlink {units}/multi-user.target.wants/bench.service {units}/bench.service",
            f"symlink {units}/serial-getty@ttyS0.service /dev/null",
        ])  # fmt: skip


def debugfs(disk, requests):
    """Carries out requests of debugfs(8), which reports errors in words only."""
    environment = {**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"}
    command = ["debugfs", "-w", "-f", "-", disk]
    done = subprocess.run(command, input="\n".join(requests), text=True, capture_output=True, env=environment)
    complaints = [line for line in done.stderr.splitlines() if not line.startswith("debugfs ")]
    complaints += [line for line in done.stdout.splitlines() if "exists" in line or "not found" in line]
    if done.returncode != 0 or complaints:
        raise Failed(f"debugfs could not prepare {disk}: {'; '.join(complaints)}")
    return done.stdout


def fill_database(guest):
    """Boots the disk, lets pgbench make its tables, and powers off."""
    with contextlib.ExitStack() as stack:
        directory = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lockstep-bench-")))
        ports = start_gateway(stack, directory, [guest.port])
        flags = [
            *vm_flags(guest.image, guest.memory, guest.append, guest.disk),
            "--net",
            f"gateway={directory / 'gateway'}",
        ]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        process = start(stack, [LOCKSTEP, "run", *flags, "--serial", "stdio"], **pipes)
        console = Console.of_process(process)
        if not console.wait_for(READY, BOOT_SECONDS_MAX):
            raise Failed(f"the Debian guest did not boot; its last words: {console.text[-1000:]}")
        wait_for_postgres(ports[guest.port])
        filled = postgres(ports[guest.port], "pgbench", "-i", "-q", "-s", "1", timeout=BOOT_SECONDS_MAX)
        if filled.returncode != 0:
            raise Failed(f"pgbench could not make its tables: {filled.stderr}")
        console.type("poweroff 1")
        while console.read():
            pass
        if process.wait() != 0:
            raise Failed("the Debian guest did not power off")
