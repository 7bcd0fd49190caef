#!/usr/bin/python3
"""The disk server and the programs that everybody has for NBD.

tests/e2e/disks.py [NAME ...]. Needs Debian's qemu-utils, libnbd-bin, python3-libnbd and fio, and a release
build of lockstep. What must hold:

  copies      qemu-img and nbdcopy copy an image to and from the server, and the sums are equal
  map         nbdinfo tells size, holes and what the server can do; holes stay holes
  fio         fio writes and verifies at depth 16
  epochs      nbdsh that says epoch 6, after epoch 7 was there, is refused with a sentence that names epoch 7;
              nbdsh that says nothing may only read while epoch 7 is connected
  kills       the server is killed in the middle of a copy that is made again: nothing of it is half
"""

import argparse
import contextlib
import hashlib
import os
import pathlib
import subprocess
import sys
import tempfile

import nbd

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from lib.diskserver import DiskServer  # noqa: E402
from lib.pair import LOCKSTEP  # noqa: E402

SIZE = 64 << 20
OWNER = "0123456789abcdef0123456789abcdef"
OTHER = "fedcba9876543210fedcba9876543210"


def run(*command):
    done = subprocess.run([*map(str, command)], text=True, capture_output=True)
    if done.returncode != 0:
        raise SystemExit(f"FAIL `{' '.join(map(str, command))}`: {done.stderr.strip()}")
    return done.stdout


def check(fact, what):
    print(f"{'ok  ' if fact else 'FAIL'} {what}", flush=True)
    if not fact:
        raise SystemExit(1)


def digest(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def image(path):
    """An image with data and holes."""
    with open(path, "wb") as file:
        file.truncate(SIZE)
        for begin in range(0, SIZE, 8 << 20):
            file.seek(begin)
            file.write(os.urandom(1 << 20))
    return digest(path)


@contextlib.contextmanager
def site():
    with tempfile.TemporaryDirectory(prefix="lockstep-disks-") as directory:
        directory = pathlib.Path(directory)
        disk = directory / "vda.raw"
        with open(disk, "wb") as file:
            file.truncate(SIZE)
        with DiskServer(directory, disk, "shop", LOCKSTEP) as server:
            yield server, directory, disk


def shell(server, epoch=None, owner=OWNER, session=1, mode="write", told=None):
    """A connection of libnbd, which says which epoch it is if one is given. What libnbd tells meanwhile, and
    so what the server says to it, is put on the list `told`."""
    handle = nbd.NBD()
    if told is not None:
        handle.set_debug_callback(lambda _, text: told.append(text) or 0)
        handle.set_debug(True)
    if epoch is not None:
        text = f"x-lockstep:1;vm=shop;epoch={epoch};owner={owner};session={session};mode={mode}"
        handle.add_meta_context(text)
    handle.connect_uri(server.stock)
    return handle


def copies():
    with site() as (server, directory, disk):
        sum_of_source = image(directory / "source.raw")
        run("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", directory / "source.raw", server.stock)
        check(digest(disk) == sum_of_source, "qemu-img convert has written the image")
        run("qemu-img", "convert", "-f", "raw", "-O", "raw", server.stock, directory / "back.raw")
        check(digest(directory / "back.raw") == sum_of_source, "and reads it back")
        run("nbdcopy", server.stock, directory / "copy.raw")
        check(digest(directory / "copy.raw") == sum_of_source, "nbdcopy reads the same")
        sum_of_source = image(directory / "source.raw")
        run("nbdcopy", "--flush", directory / "source.raw", server.stock)
        check(digest(disk) == sum_of_source, "nbdcopy has written another image")
        same = run("qemu-img", "compare", "-f", "raw", "-F", "raw", directory / "source.raw", server.stock)
        check("identical" in same, "qemu-img compare finds no difference")


def map_of_holes():
    with site() as (server, directory, disk):
        image(disk)
        info = run("nbdinfo", server.stock)
        abilities = ["flush", "fua", "multi_conn", "trim", "zero", "fast_zero"]
        words = [f"can_{ability}: true" for ability in abilities]
        for word in [f"export-size: {SIZE}", "base:allocation", *words]:
            check(word in info, f"nbdinfo tells {word}")
        listed = run("nbdinfo", "--list", server.stock.rsplit("/", 1)[0])
        check("vda" in listed, "nbdinfo --list has the name")
        lines = [line.split() for line in run("nbdinfo", "--map", server.stock).splitlines()]
        holes = sum(int(line[1]) for line in lines if line[2] == "3")
        check(holes == SIZE * 7 // 8, f"nbdinfo --map finds {holes >> 20} MiB of holes")
        handle = shell(server)
        handle.trim(1 << 20, 0)
        handle.zero(1 << 20, 8 << 20)
        handle.flush()
        handle.shutdown()
        taken = os.stat(disk).st_blocks * 512
        check(taken < 6.5 * (1 << 20), f"what is trimmed and zeroed takes no space: {taken} bytes are left")


def fio():
    with site() as (server, directory, _):
        run("fio", "--name=x", "--ioengine=nbd", f"--uri={server.stock}", "--rw=randwrite", "--bs=4k",
            "--iodepth=16", f"--size={SIZE}", "--verify=crc32c", "--do_verify=1", f"--aux-path={directory}")
        check(True, "fio has written at random places at depth 16, and verified them")


def refusal(server, **who):
    told = []
    try:
        shell(server, told=told, **who)
    except nbd.Error as error:
        said = [line for line in told if "epoch" in line and "x-lockstep" not in line]
        return said[-1] if said else f"{error.string}, without a word"
    raise SystemExit("FAIL the server has let it in")


def epochs():
    with site() as (server, _, disk):
        six = shell(server, epoch=6)
        six.pwrite(b"epoch six", 0)
        seven = shell(server, epoch=7, owner=OTHER)
        seven.pwrite(b"epoch seven", 0)
        check("epoch 7" in (text := refusal(server, epoch=6, session=2)), f"epoch 6 is refused: {text}")
        check("epoch 7" in (text := refusal(server, epoch=7)), f"another owner is refused: {text}")
        with contextlib.suppress(nbd.Error):
            six.pwrite(b"late", 0)
            check(False, "a write of epoch 6 was answered")
        stock = shell(server)
        check(stock.is_read_only(), "a program without an epoch may only read")
        check(bytes(stock.pread(11, 0)) == b"epoch seven", "and reads what epoch 7 has written")
        server.kill()
        server.start()
        text = refusal(server, epoch=6, session=3)
        check("epoch 7" in text, f"a server that was killed remembers it: {text}")
        check(disk.read_bytes()[:11] == b"epoch seven", "the disk has what epoch 7 has written")


def kills():
    with site() as (server, directory, disk):
        sum_of_source = image(directory / "source.raw")
        failed = 0
        with server.killed_every(0.2):
            while server.kills < 20:
                copy = subprocess.run(
                    ["nbdcopy", "--flush", directory / "source.raw", server.stock], capture_output=True
                )
                failed += copy.returncode != 0
        run("nbdcopy", "--flush", directory / "source.raw", server.stock)
        told = f"after {server.kills} kills and {failed} torn copies all is there"
        check(digest(disk) == sum_of_source, told)


SCENARIOS = {"copies": copies, "map": map_of_holes, "fio": fio, "epochs": epochs, "kills": kills}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME")
    names = parser.parse_args().names or list(SCENARIOS)
    for name in names:
        print(f"== {name}", flush=True)
        SCENARIOS[name]()
    print(f"{len(names)} scenarios passed")


main()
