#!/usr/bin/env python3
"""Kernels, firmware and disks in every form that people have for QEMU's virt board, each started.

tests/e2e/boots.py [--lockstep FILE] [CASE ...]. Default: all cases with the release build of this tree. Needs
the Debian packages `opensbi` and `u-boot-qemu`, mkfs.ext4, and the appliance's image. A case is a machine
alone and what its console must show; the cases about U-Boot then type at its prompt, or have it boot a disk
by itself. A line for each case; the exit code is 0 only if all did as they should.
"""

import argparse
import gzip
import json
import lzma
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "bench"))
from machines import LOCKSTEP, Console, Failed  # noqa: E402

OPENSBI = pathlib.Path("/usr/lib/riscv64-linux-gnu/opensbi/generic")
U_BOOT = pathlib.Path("/usr/lib/u-boot")
# How long a guest may say nothing of what is waited for, on a busy host.
PATIENCE = 300
MIB = 1 << 20


def zboot(payload):
    """An EFI program that would unpack itself (Linux drivers/firmware/efi/libstub/zboot-header.S)."""
    header = struct.pack("<2s2x4sII8x8s", b"MZ", b"zimg", 0x100, len(payload), b"gzip")
    return header.ljust(0x100, b"\0") + payload


def disk_with_extlinux(directory, files):
    """A disk with one bootable partition, on whose file system extlinux.conf names a kernel and an initrd."""
    root, disk = directory / "root", directory / "disk.raw"
    (root / "extlinux").mkdir(parents=True)
    shutil.copy(files["kernel"], root / "vmlinux")
    shutil.copy(files["initrd"], root / "initrd")
    entry = "label linux\n  kernel /vmlinux\n  initrd /initrd\n"
    entry += f"  append {files['append']}\n"
    (root / "extlinux/extlinux.conf").write_text(f"default linux\ntimeout 1\n{entry}")
    size = 64 * MIB + sum(file.stat().st_size for file in root.rglob("*"))
    size -= size % MIB
    partition = struct.pack("<B3xB3xII", 0x80, 0x83, MIB // 512, size // 512)
    with disk.open("wb") as out:
        out.write(partition.rjust(446 + 16, b"\0").ljust(510, b"\0") + b"\x55\xaa")
        out.truncate(MIB + size)
    # U-Boot knows neither of these two features of ext4.
    options = ["-q", "-O", "^metadata_csum,^orphan_file", "-E", f"offset={MIB}", "-d", root]
    subprocess.run(["mkfs.ext4", *options, disk, f"{size // MIB}M"], check=True)
    return disk


class Boots:
    """The cases, by their names; the directory holds the files that they make."""

    def __init__(self, program, directory):
        self.program, self.directory = program, directory
        made = subprocess.run([program, "image", "appliance", "--json"], check=True, stdout=subprocess.PIPE)
        self.files = json.loads(made.stdout)
        self.kernel = pathlib.Path(self.files["kernel"])

    def file(self, name, content):
        path = self.directory / name
        path.write_bytes(content)
        return path

    def run(self, *flags):
        command = [self.program, "run", "--memory", "1G", *flags, "--serial", "stdio"]
        pipes = dict.fromkeys(["stdin", "stdout", "stderr"], subprocess.PIPE)
        return subprocess.Popen([*map(str, command)], **pipes)

    def shows(self, flags, dialogue, powers_off=False):
        """Waits for each pattern on the console and types the answer to it, if there is one."""
        process = self.run(*flags)
        try:
            console = Console.of_process(process)
            for pattern, answer in dialogue:
                if not console.wait_for(pattern, PATIENCE):
                    raise Failed(f"`{pattern}` was not shown, but: ...{console.text[-300:]!r}")
                if answer is not None:
                    console.type(answer)
            while powers_off and console.read():
                pass
            if powers_off and process.wait() != 0:
                raise Failed(f"it ended with {process.returncode}")
        except Failed as error:
            process.kill()
            raise Failed(f"{error} {process.communicate()[1].decode()}") from None
        finally:
            process.kill()
            process.communicate()

    def refuses(self, flags, sentence):
        """The program must end at once with this in its sentence."""
        process = self.run(*flags)
        _, text = process.communicate()
        if process.returncode != 1 or sentence not in text.decode():
            raise Failed(f"exit code {process.returncode}: {text.decode()}")

    def boots_linux(self, *flags):
        self.shows([*flags, "--append", "console=ttyS0"], [("OpenSBI v", None), ("Linux version", None)])

    def image_flat(self):
        """A flat Image with an EFI stub, as Debian ships it."""
        self.boots_linux("--kernel", self.kernel)

    def image_gzip(self):
        """An Image that is compressed with gzip."""
        packed = gzip.compress(self.kernel.read_bytes(), compresslevel=1)
        self.boots_linux("--kernel", self.file("Image.gz", packed))

    def image_zboot(self):
        """An EFI program that unpacks itself."""
        packed = gzip.compress(self.kernel.read_bytes(), compresslevel=1)
        self.boots_linux("--kernel", self.file("vmlinuz.efi", zboot(packed)))

    def image_xz(self):
        """A kernel that is compressed with xz is refused, with the command that unpacks it."""
        packed = lzma.compress(self.kernel.read_bytes()[:65536])
        self.refuses(["--kernel", self.file("Image.xz", packed)], "unxz")

    def firmware_dynamic_elf(self):
        """OpenSBI's fw_dynamic as an ELF file."""
        self.boots_linux("--firmware", OPENSBI / "fw_dynamic.elf", "--kernel", self.kernel)

    def firmware_jump(self):
        """OpenSBI's fw_jump, flat, under QEMU's name of the flag."""
        self.boots_linux("--bios", OPENSBI / "fw_jump.bin", "--kernel", self.kernel)

    def firmware_jump_elf(self):
        """OpenSBI's fw_jump as an ELF file."""
        self.boots_linux("--firmware", OPENSBI / "fw_jump.elf", "--kernel", self.kernel)

    def u_boot(self, *flags):
        dialogue = [("U-Boot 20", None), ("Hit any key", " "), ("=> ", "poweroff")]
        self.shows(flags, dialogue, powers_off=True)

    def u_boot_flat(self):
        """U-Boot behind OpenSBI, flat; it powers off on command."""
        self.u_boot("--kernel", U_BOOT / "qemu-riscv64_smode/u-boot.bin")

    def u_boot_elf(self):
        """OpenSBI with an ELF file behind it: U-Boot."""
        self.u_boot("--kernel", U_BOOT / "qemu-riscv64_smode/uboot.elf")

    def u_boot_machine_mode(self):
        """U-Boot for M-mode as the firmware, with two harts."""
        self.u_boot("--firmware", U_BOOT / "qemu-riscv64/u-boot.bin", "--harts", "2")

    def u_boot_machine_mode_elf(self):
        """U-Boot for M-mode as an ELF kernel without firmware."""
        self.u_boot("--firmware", "none", "--kernel", U_BOOT / "qemu-riscv64/uboot.elf")

    def disk_extlinux(self):
        """A disk that boots by itself: U-Boot reads extlinux.conf, kernel and initrd from it."""
        disk = disk_with_extlinux(self.directory, self.files)
        shown = ["Retrieving file: .*extlinux.conf", "Starting kernel", "lockstep-appliance: ready"]
        dialogue = [(pattern, None) for pattern in shown]
        self.shows(["--kernel", U_BOOT / "qemu-riscv64_smode/u-boot.bin", "--disk", disk], dialogue)


def cases():
    """The names of the methods of `Boots` that are cases: they have a sentence."""
    helpers = {"file", "run", "shows", "refuses", "boots_linux", "u_boot"}
    return [name for name in vars(Boots) if not name.startswith("_") and name not in helpers]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--lockstep", default=LOCKSTEP, type=pathlib.Path, help="another build")
    parser.add_argument("case", nargs="*", help=f"one of {', '.join(cases())}; default: all")
    arguments = parser.parse_args()
    failed = 0
    for name in arguments.case or cases():
        with tempfile.TemporaryDirectory(prefix="lockstep-e2e-") as directory:
            boots = Boots(arguments.lockstep, pathlib.Path(directory))
            case = getattr(boots, name)
            try:
                case()
                print(f"ok      {name}: {case.__doc__}", flush=True)
            except Failed as error:
                failed += 1
                print(f"FAILED  {name}: {case.__doc__} {error}", flush=True)
    sys.exit(1 if failed else 0)


main()
