"""Runs inside a guest: keeps three ledgers on /data, and says that a record is kept only after it was
flushed.

A client sends a line, and gets a line:

    append N        record N is appended to a file, then fdatasync: data and the file's new length must both
                    be there
    direct N        16 records from 16 N on are written past the guest's cache, one after the other, then
                    fdatasync: the writes are complete long before the flush, as those of a database that
                    writes with O_DIRECT
    files N         file N is written under another name, flushed, renamed, and its directory flushed: only
                    metadata tells
    churn N         makes and removes files that nobody flushes, so that completed metadata writes are about
    verify          the guest's caches are dropped, everything is read: {"append": [[FIRST, LAST], ..], ...}
                    as JSON, and whether the disk is mounted at all
    poweroff        the guest ends

Record N of a kind is a function of both; what is read is compared with that.
"""

import hashlib
import json
import mmap
import os
import socket
import threading

DATA = os.environ.get("LOCKSTEP_DATA") or "/data"
PORT, GROUP, BLOCK, DIRECT_BLOCKS, APPENDED = 9000, 16, 4096, 8192, 200


def content(kind, number, size):
    digest = hashlib.sha256(f"{kind} {number}".encode()).digest()
    return (digest * (size // len(digest) + 1))[:size]


class Ledgers:
    def __init__(self):
        os.makedirs(f"{DATA}/files", exist_ok=True)
        os.makedirs(f"{DATA}/churn", exist_ok=True)
        self.appended = os.open(f"{DATA}/append", os.O_RDWR | os.O_CREAT)
        if not os.path.exists(f"{DATA}/direct"):
            # A database's file: its blocks exist, so that writing into them changes no metadata.
            with open(f"{DATA}/direct.new", "wb") as file:
                for _ in range(DIRECT_BLOCKS * BLOCK >> 20):
                    file.write(bytes(1 << 20))
                os.fsync(file.fileno())
            os.rename(f"{DATA}/direct.new", f"{DATA}/direct")
            os.sync()
        self.direct_fd = os.open(f"{DATA}/direct", os.O_RDWR | os.O_DIRECT)

    def append(self, number):
        os.pwrite(self.appended, content("append", number, APPENDED), number * APPENDED)
        os.fdatasync(self.appended)

    def direct(self, number):
        # A mapping is aligned as O_DIRECT needs it.
        with mmap.mmap(-1, BLOCK) as page:
            for record in range(GROUP * number, GROUP * (number + 1)):
                page[:] = content("direct", record, BLOCK)
                os.pwrite(self.direct_fd, page, record % DIRECT_BLOCKS * BLOCK)
        os.fdatasync(self.direct_fd)

    def files(self, number):
        new, name = f"{DATA}/files/{number}.new", f"{DATA}/files/{number}"
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.write(fd, content("files", number, 1000))
        os.fsync(fd)
        os.close(fd)
        os.rename(new, name)
        directory = os.open(f"{DATA}/files", os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)

    def churn(self, number):
        for turn in range(number % 8 + 1):
            name = f"{DATA}/churn/{turn}"
            if os.path.exists(name):
                os.unlink(name)
            else:
                with open(name, "wb") as file:
                    file.write(content("churn", number, 20000))

    def verify(self):
        with open("/proc/sys/vm/drop_caches", "w") as file:
            file.write("3")
        found = {"append": [], "direct": [], "files": []}
        data = open(f"{DATA}/append", "rb").read()
        for number in range(-(-len(data) // APPENDED)):
            if data[number * APPENDED : (number + 1) * APPENDED] == content("append", number, APPENDED):
                found["append"].append(number)
        with open(f"{DATA}/direct", "rb") as file:
            for place in range(DIRECT_BLOCKS):
                if file.read(BLOCK) == content("direct", place, BLOCK):
                    found["direct"].append(place)
        for name in os.listdir(f"{DATA}/files"):
            if name.isdigit() and open(f"{DATA}/files/{name}", "rb").read() == content(
                "files", int(name), 1000
            ):
                found["files"].append(int(name))
        return {
            "mounted": os.path.ismount(DATA),
            **{kind: ranges(sorted(numbers)) for kind, numbers in found.items()},
        }


def ranges(numbers):
    result = []
    for number in numbers:
        if result and result[-1][1] == number - 1:
            result[-1][1] = number
        else:
            result.append([number, number])
    return result


def serve(connection, ledgers):
    with connection, connection.makefile("rw") as stream:
        for line in stream:
            word, *number = line.split()
            if word == "poweroff":
                os._exit(0)
            if word == "verify":
                answer = json.dumps(ledgers.verify())
            else:
                getattr(ledgers, word)(int(number[0]))
                answer = " ".join([word, *number])
            print(answer, file=stream, flush=True)


def main():
    ledgers = Ledgers()
    with socket.create_server(("0.0.0.0", PORT)) as listener:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=serve, args=(connection, ledgers), daemon=True).start()


main()
