#!/usr/bin/env python3
"""An image as Debian's cloud images are boots by itself to a login of cloud-init's user, under Lockstep and
under QEMU alike.

tests/e2e/cloud_image.py [--rebuild] [--lockstep FILE] [MACHINE ...]. Default: `lockstep`, `qemu` and `pair`,
a pair whose primary is killed while cloud-init is at work, and whose backup goes on.

The image has a GPT, an EFI system partition with Debian's GRUB, and a root file system with Debian's kernel,
systemd and cloud-init, made of Debian's packages; it is made once and kept in the user's cache. U-Boot starts
GRUB from the EFI partition, GRUB the kernel, and cloud-init makes the user that `user-data` asks for, from
the disk of `--cloud-init` or, for QEMU, from one that mtools has made. Then somebody logs in on the serial
line with that user's password, looks where they are, and powers the machine off. QEMU gets the image as
qcow2.

Needs a release build of lockstep and Debian's packages mmdebstrap, qemu-user-static, e2fsprogs, fdisk,
mtools, qemu-system-misc and qemu-utils; whoever is not root needs fakeroot and uidmap, too. Prints the
seconds after which each machine was how far; the exit code is 0 only if all came to the login and did as they
should.
"""

import argparse
import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "bench"))
from machines import LOCKSTEP, QEMU, Console, Failed, copy_of, pair_flags, start  # noqa: E402

SUITE = "trixie"
# What Debian's cloud images have that matters for a boot and a login on the serial line.
PACKAGES = """
    apt ca-certificates cloud-guest-utils cloud-init dbus e2fsprogs grub-efi-riscv64-bin ifupdown init
    initramfs-tools iproute2 kmod less linux-image-riscv64 login nano netbase passwd procps python3 sudo
    systemd systemd-sysv tzdata udev util-linux
""".split()
ROOT_UUID = "7a1e0a9c-3c0b-4d55-9f0e-6f5d3a1b2c4d"
ESP_SERIAL = "4c4f434b"
SECTOR, MIB = 512, 1 << 20
# As in Debian's images, partition 15 is EFI's and comes first on the disk; partition 1 is the root.
ESP_AT, ROOT_AT, DISK_MIB = 1, 128, 2560
PARTITIONS = f"""
    label: gpt
    15: start={ESP_AT * MIB // SECTOR}, size={(ROOT_AT - ESP_AT) * MIB // SECTOR}, type=uefi
    1: start={ROOT_AT * MIB // SECTOR}, type=72EC70A6-CF74-40E6-BD49-4BDA08E8F224
"""
# Debian's own GRUB for riscv64, and where the standard has firmware look for a boot loader.
GRUB = "./usr/lib/grub/riscv64-efi/monolithic/grubriscv64.efi"
FALLBACK = "::/EFI/BOOT/BOOTRISCV64.EFI"
GRUB_OF_ESP = f"""search.fs_uuid {ROOT_UUID} root
set prefix=($root)/boot/grub
configfile $prefix/grub.cfg
"""
# Runs in the new root directory, behind the installation of the packages.
SET_UP = f"""set -e
cd "$1"
cat >etc/fstab <<END
UUID={ROOT_UUID} / ext4 rw,errors=remount-ro 0 1
UUID={ESP_SERIAL[:4].upper()}-{ESP_SERIAL[4:].upper()} /boot/efi vfat umask=0077 0 1
END
echo debian >etc/hostname
: >etc/machine-id
mkdir -p boot/efi boot/grub
kernel=$(cd boot; echo vmlinu?-*)
initrd=$(cd boot; echo initrd.img-*)
cat >boot/grub/grub.cfg <<END
set timeout=1
insmod part_gpt
insmod ext2
insmod gzio
menuentry 'Debian GNU/Linux' {{
    search --no-floppy --fs-uuid --set=root {ROOT_UUID}
    linux /boot/$kernel root=UUID={ROOT_UUID} ro console=tty0 console=ttyS0,115200 consoleblank=0
    initrd /boot/$initrd
}}
END
rm -rf var/cache/apt/archives/*.deb
"""
USER, PASSWORD = "ada", "engine1843"
USER_DATA = f"""#cloud-config
hostname: analytical
users:
  - name: {USER}
    plain_text_passwd: {PASSWORD}
    lock_passwd: false
    shell: /bin/bash
    sudo: ALL=(ALL) NOPASSWD:ALL
"""
META_DATA = "instance-id: cloud\nlocal-hostname: cloud\n"
# How long a guest may say nothing of what is waited for, on a busy host.
PATIENCE = 1800
TOOLS = "apt-get mmdebstrap mke2fs sfdisk mformat mmd mcopy tar qemu-img".split() + [QEMU]


def needed():
    """Names the tools that this machine lacks."""
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    tools = TOOLS if os.geteuid() == 0 else [*TOOLS, "fakeroot", "newuidmap"]
    if missing := [tool for tool in tools if not shutil.which(tool)]:
        lacking = ", ".join(missing)
        raise SystemExit(f"this machine has no {lacking}; the head of this file names the packages")


def sources():
    """Options and a line by which apt reads Debian from the mirror that this machine's own apt reads."""
    filters = ["Created-By: Packages", "Label: Debian"]
    listing = ["apt-get", "indextargets", "--format", "$(REPO_URI)", *filters]
    mirrors = subprocess.run(listing, check=True, capture_output=True, text=True).stdout.split()
    if not mirrors:
        raise SystemExit("apt knows no mirror of Debian; add one to /etc/apt, and run `apt-get update`")
    keyrings = pathlib.Path("/usr/share/keyrings").glob("debian-archive-keyring.*")
    dump = ["apt-config", "dump", "--format", "%F %v%n", "Acquire"]
    settings = subprocess.run(dump, check=True, capture_output=True, text=True).stdout.splitlines()
    proxies = [line.split(" ", 1) for line in settings if line.split("::")[-1].startswith("Proxy")]
    options = [f'--aptopt={name} "{value}"' for name, value in proxies if value]
    return options, f"deb [signed-by={max(keyrings)}] {mirrors[0]} {SUITE} main"


def install(tarball):
    """Installs the packages with their scripts, under QEMU's user emulation."""
    options, line = sources()
    command = ["mmdebstrap", "--variant=minbase", "--architectures=riscv64", "--format=tar"]
    command += [f"--include={','.join(PACKAGES)}", '--aptopt=APT::Install-Recommends "false"', *options]
    command += [f"--customize-hook={SET_UP}", SUITE, tarball, line]
    log = tarball.with_suffix(".log")
    with log.open("w") as out:
        made = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    if made.returncode != 0:
        raise SystemExit("Debian could not be installed:\n" + "\n".join(log.read_text().splitlines()[-20:]))


def write_disk(tarball, disk):
    """Partitions a disk, and fills both file systems."""
    with disk.open("wb") as out:
        out.truncate(DISK_MIB * MIB)
    partitions = "\n".join(line.strip() for line in PARTITIONS.strip().splitlines())
    subprocess.run(["sfdisk", "--quiet", disk], input=partitions, text=True, check=True)
    grub = disk.with_name("grub.efi")
    with grub.open("wb") as out:
        subprocess.run(["tar", "-xOf", tarball, GRUB], stdout=out, check=True)
    config = disk.with_name("grub.cfg")
    config.write_text(GRUB_OF_ESP)
    esp = f"{disk}@@{ESP_AT * MIB}"
    sectors = (ROOT_AT - ESP_AT) * MIB // SECTOR
    format_esp = ["mformat", "-i", esp, "-F", "-T", str(sectors), "-v", "EFI", "-N", ESP_SERIAL, "::"]
    subprocess.run(format_esp, check=True)
    subprocess.run(["mmd", "-i", esp, "::/EFI", "::/EFI/BOOT", "::/EFI/debian"], check=True)
    subprocess.run(["mcopy", "-i", esp, grub, FALLBACK], check=True)
    subprocess.run(["mcopy", "-i", esp, config, "::/EFI/debian/grub.cfg"], check=True)
    # Behind the root lies the second copy of the partition table.
    root_mib = DISK_MIB - ROOT_AT - 1
    script = f"""set -e
        mkdir "$2" && chmod 755 "$2"
        tar -C "$2" --numeric-owner --xattrs --xattrs-include='*' -xf "$1"
        mke2fs -q -F -t ext4 -U {ROOT_UUID} -E offset={ROOT_AT * MIB} -d "$2" "$3" {root_mib}M
        rm -rf "$2" """
    words = ["sh", "-c", script, "sh", tarball, disk.with_name("root"), disk]
    # Only a pretended root can own files as others.
    subprocess.run(words if os.geteuid() == 0 else ["fakeroot", *words], check=True)


def image(rebuild):
    """The image, made now if the cache has none of this recipe."""
    recipe = repr([SUITE, PACKAGES, PARTITIONS, SET_UP, GRUB_OF_ESP, DISK_MIB]).encode()
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "lockstep-e2e"
    kept = cache / f"cloud-image-{hashlib.sha256(recipe).hexdigest()[:16]}.raw"
    if kept.exists() and not rebuild:
        return kept
    cache.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    print("making the image, which takes some minutes", flush=True)
    with tempfile.TemporaryDirectory(prefix="making-", dir=cache) as directory:
        directory = pathlib.Path(directory)
        # Whoever mmdebstrap becomes must reach the tarball.
        directory.chmod(0o755)
        tarball, disk = directory / "root.tar", directory / "disk.raw"
        install(tarball)
        write_disk(tarball, disk)
        disk.rename(kept)
    size = kept.stat().st_blocks * 512 // MIB
    print(f"the image is made: {size} MiB, in {time.monotonic() - begin:.0f} s", flush=True)
    return kept


def seed_of_mtools(directory):
    """A disk for cloud-init that Lockstep has not made."""
    seed = directory / "seed.img"
    subprocess.run(["mformat", "-C", "-i", seed, "-f", "1440", "-v", "CIDATA", "::"], check=True)
    subprocess.run(["mcopy", "-i", seed, directory / "user-data", directory / "meta-data", "::"], check=True)
    return seed


def lockstep_command(program, directory, original):
    """Lockstep's machine: the image as it is, and a word for the boot loader."""
    disk = copy_of(original, directory / "disk.raw")
    files = f"{directory / 'user-data'},{directory / 'meta-data'}"
    flags = ["--firmware", "uboot", "--disk", disk, "--cloud-init", files, "--memory", "1G"]
    return [program, "run", *flags, "--serial", "stdio"]


def qemu_command(program, directory, original):
    """QEMU's machine with the same boot loader, and the image as qcow2."""
    found = subprocess.run([program, "image", "uboot", "--json"], check=True, stdout=subprocess.PIPE)
    boot_loader = json.loads(found.stdout)
    disk = directory / "disk.qcow2"
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", original, disk], check=True)
    seed = seed_of_mtools(directory)
    drives = [f"format=qcow2,file={disk}", f"format=raw,readonly=on,file={seed}"]
    command = [QEMU, "-machine", "virt", "-m", "1G", "-no-reboot"]
    command += ["-global", "virtio-mmio.force-legacy=false"]
    command += ["-bios", boot_loader["firmware"], "-kernel", boot_loader["kernel"]]
    # Linux looks at QEMU's buses from the last one down, and so finds the disks in this order.
    for number, drive in enumerate(drives):
        device = f"virtio-blk-device,drive=d{number},bus=virtio-mmio-bus.{7 - number}"
        command += ["-drive", f"if=none,id=d{number},{drive}", "-device", device]
    command += ["-device", "virtio-rng-device"]
    return [*command, "-display", "none", "-monitor", "none", "-serial", "stdio"]


# A file system of mtools looks like a partition, too, so Linux may call it vdb1.
# What the console shows, by the names of what was reached, and what is typed then.
BOOT = [
    ("U-Boot", "U-Boot 20", None),
    ("GRUB", "GNU GRUB", None),
    ("Linux", "Linux version 6", None),
    ("systemd", "Welcome to .*Debian GNU/Linux 13", None),
    ("cloud-init", r"Cloud-init v\. \S+ finished at .*DataSourceNoCloud \[seed=/dev/vdb1?\]", ""),
    ("login", "analytical login: ", USER),
    ("password", "Password: ", PASSWORD),
]
# Each line that is typed behind the login, and what it must show. The line itself is shown, too.
LOOK = [
    ("id", rf"uid=\d+\({USER}\)"),
    ("cat /etc/os-release", "VERSION_CODENAME=trixie"),
    ("test -d /sys/firmware/efi && echo by-$((1))-efi", "by-1-efi"),
    ("findmnt --noheadings --output SOURCE /", "/dev/vda1"),
    ("findmnt --noheadings --output SOURCE /boot/efi", "/dev/vda15"),
    ("lsblk --noheadings --output LABEL,RO /dev/vdb", r"CIDATA +\d"),
]


class Person:
    """Somebody at the console of a process, who notes the seconds after which the guest was how far."""

    def __init__(self, process):
        self.process, self.console = process, Console.of_process(process)
        self.begin, self.reached = time.monotonic(), {}

    def waits_for(self, pattern):
        if not self.console.wait_for(pattern, PATIENCE):
            raise Failed(f"`{pattern}` was not shown, but: ...{self.console.text[-2000:]}")

    def follows(self, steps):
        """Waits for what a boot shows, and types what it asks for."""
        for name, pattern, answer in steps:
            self.waits_for(pattern)
            self.reached[name] = time.monotonic() - self.begin
            if answer is not None:
                self.console.type(answer)

    def looks_and_powers_off(self):
        prompt = rf"{USER}@analytical:~\$ "
        for line, pattern in LOOK:
            self.waits_for(prompt)
            self.console.type(line)
            self.waits_for(pattern)
        self.waits_for(prompt)
        self.console.type("sudo poweroff")
        while self.console.read():
            pass
        if self.process.wait() != 0:
            raise Failed(f"it ended with {self.process.returncode}")
        self.reached["off"] = time.monotonic() - self.begin


def alone(command, stack, directory):
    """Boots a machine, logs in, looks and powers off."""
    person = Person(begun(command, stack, directory))
    person.follows(BOOT)
    person.looks_and_powers_off()
    return person.reached


def as_pair(command, stack, directory):
    """The same with a backup, which goes on when the primary is killed while cloud-init is at work."""
    program, _, *flags = command
    flags += ["--name", "cloud", *pair_flags(directory)]
    backup = begun([program, "backup", *flags], stack, directory)
    while "waiting for the primary" not in (directory / "errors").read_text():
        time.sleep(0.05)
    first = Person(begun([program, "primary", *flags], stack, directory))
    at_work = [("at work", "running 'modules:config'", None)]
    first.follows([*BOOT[:4], *at_work])
    first.process.kill()
    survivor = Person(backup)
    survivor.begin, survivor.reached = first.begin, first.reached
    survivor.follows(BOOT[4:])
    survivor.looks_and_powers_off()
    return survivor.reached


def begun(command, stack, directory):
    """A process with a console on its standard streams; what it says besides is in a file."""
    pipe, errors = subprocess.PIPE, stack.enter_context((directory / "errors").open("a"))
    return start(stack, command, stdin=pipe, stdout=pipe, stderr=errors)


def main():
    machines = {
        "lockstep": (lockstep_command, alone),
        "qemu": (qemu_command, alone),
        "pair": (lockstep_command, as_pair),
    }
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rebuild", action="store_true", help="make the image again")
    parser.add_argument("--lockstep", default=LOCKSTEP, type=pathlib.Path, help="another build")
    parser.add_argument("machine", nargs="*", help=f"one of {', '.join(machines)}; default: all")
    arguments = parser.parse_args()
    needed()
    original = image(arguments.rebuild)
    failed = 0
    for name in arguments.machine or machines:
        command_of, boot = machines[name]
        with contextlib.ExitStack() as stack:
            directory = tempfile.TemporaryDirectory(prefix="lockstep-e2e-")
            directory = pathlib.Path(stack.enter_context(directory))
            (directory / "user-data").write_text(USER_DATA)
            (directory / "meta-data").write_text(META_DATA)
            try:
                command = command_of(arguments.lockstep, directory, original)
                reached = boot(command, stack, directory)
                times = ", ".join(f"{what} {seconds:.1f} s" for what, seconds in reached.items())
                print(f"ok      {name}: {times}", flush=True)
            except Failed as error:
                failed += 1
                said = (directory / "errors").read_text()
                print(f"FAILED  {name}: {error} {said}", flush=True)
    sys.exit(1 if failed else 0)


main()
