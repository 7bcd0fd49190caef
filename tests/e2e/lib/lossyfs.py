#!/usr/bin/env python3
"""A file system whose cache can be lost: one mount of it stands for one host with its page cache.

lossyfs.py BACKING MOUNTPOINT STATISTICS [--sync-ms MS] [--seed N] [--no-cache] [--no-direct] [--writes FILE].
Root only; it speaks to /dev/fuse itself.

Two hosts that share storage are two mounts of one backing directory. The backing directory is the storage:
what is there survives. What a program writes plainly stays in the mount's own cache, block by block, until it
is flushed (or, at random, was written back by itself, as a kernel does with pages whenever it likes). SIGKILL
of the server is the death of that host without its cache. What is opened or written with O_DIRECT, O_DSYNC or
O_SYNC goes to the storage before it is answered. Names (create, link, rename, unlink) are the storage's at
once, as those of a network file system.

The kernel that the test runs on keeps nothing: every file is opened with FOPEN_DIRECT_IO and no attribute is
valid for longer than the answer that brings it.
"""

import argparse
import ctypes
import errno
import mmap
import os
import random
import stat
import struct
import sys
import threading
import time

BLOCK = 4096
MAX_WRITE = 1 << 20
THREADS = 6
# Of so many blocks written to the cache one is written back at once.
WRITTEN_BACK = 8

THROUGH = os.O_DIRECT | os.O_DSYNC | os.O_SYNC
FOPEN_DIRECT_IO, FOPEN_PARALLEL_DIRECT_WRITES = 1 << 0, 1 << 6
INIT_FLAGS = 1 << 0 | 1 << 5 | 1 << 22  # asynchronous reads, big writes, max_pages is valid
FATTR_MODE, FATTR_SIZE = 1 << 0, 1 << 3
ROOT = 1

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p]
LIBC.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


class Statistics:
    """Counters in a file that outlives the server: what was in the cache when it was lost."""

    NAMES = ["dirty_bytes", "buffered_writes", "through_writes", "syncs", "through_bytes", "buffered_bytes"]

    def __init__(self, path, create=False):
        if create:
            with open(path, "wb") as file:
                file.write(bytes(8 * len(self.NAMES)))
        with open(path, "r+b") as file:
            self.memory = mmap.mmap(file.fileno(), 8 * len(self.NAMES))

    def add(self, name, amount):
        at = 8 * self.NAMES.index(name)
        struct.pack_into("<q", self.memory, at, struct.unpack_from("<q", self.memory, at)[0] + amount)

    def all(self):
        return dict(zip(self.NAMES, struct.unpack_from(f"<{len(self.NAMES)}q", self.memory)))


class Cache:
    """The blocks of one file that are not on the storage yet."""

    def __init__(self, statistics, chance):
        self.blocks, self.statistics, self.chance = {}, statistics, chance

    def write(self, fd, offset, data):
        at = 0
        while at < len(data):
            number, inside = divmod(offset + at, BLOCK)
            piece = data[at : at + BLOCK - inside]
            block = self.blocks.get(number)
            if block is None:
                old = os.pread(fd, BLOCK, number * BLOCK)
                block = self.blocks[number] = bytearray(old.ljust(BLOCK, b"\0"))
                self.statistics.add("dirty_bytes", BLOCK)
            block[inside : inside + len(piece)] = piece
            if self.chance.randrange(WRITTEN_BACK) == 0:
                self.write_back(fd, [number])
            at += len(piece)

    def read(self, fd, offset, size):
        data = bytearray(os.pread(fd, size, offset))
        for number in range(offset // BLOCK, -(-(offset + len(data)) // BLOCK)):
            block = self.blocks.get(number)
            if block is not None:
                begin = max(number * BLOCK, offset)
                end = min((number + 1) * BLOCK, offset + len(data))
                data[begin - offset : end - offset] = block[begin - number * BLOCK : end - number * BLOCK]
        return bytes(data)

    def write_back(self, fd, numbers):
        size = os.fstat(fd).st_size
        for number in numbers:
            block = self.blocks.pop(number, None)
            if block is not None:
                os.pwrite(fd, block[: max(0, min(BLOCK, size - number * BLOCK))], number * BLOCK)
                self.statistics.add("dirty_bytes", -BLOCK)

    def write_back_range(self, fd, offset, size):
        self.write_back(
            fd, range(offset // BLOCK, -(-(offset + size) // BLOCK)) if size < 1 << 30 else list(self.blocks)
        )


class Node:
    """An inode that the kernel knows, held by a descriptor, with its cache."""

    def __init__(self, fd, cache):
        self.fd, self.cache, self.lookups = fd, cache, 0

    def path(self):
        return f"/proc/self/fd/{self.fd}"


class Server:
    """Answers the kernel's requests. A method is called by the request's number."""

    def __init__(self, backing, device, statistics, args):
        self.device, self.statistics, self.sync_seconds = device, statistics, args.sync_ms / 1e3
        self.chance = random.Random(args.seed)
        self.lock, self.no_cache, self.no_direct = threading.RLock(), args.no_cache, args.no_direct
        self.writes = open(args.writes, "ab", buffering=0) if args.writes else None
        self.nodes = {ROOT: self.node(os.open(backing, os.O_PATH))}
        self.nodes[ROOT].lookups = 1 << 60
        self.directories = {}

    def node(self, fd):
        return Node(fd, Cache(self.statistics, self.chance))

    # Requests and answers.

    def serve(self):
        while True:
            try:
                request = os.read(self.device, MAX_WRITE + 65536)
            except OSError as error:
                if error.errno in (errno.EINTR, errno.EAGAIN, errno.ENOENT):
                    continue
                return
            _, opcode, unique, nodeid = struct.unpack_from("<IIQQ", request)
            handler = getattr(self, f"on_{OPCODES.get(opcode, '')}", None)
            if opcode in NO_ANSWER:
                if handler:
                    handler(nodeid, request[40:])
                continue
            try:
                if handler is None:
                    raise OSError(errno.ENOSYS, "not served")
                self.answer(unique, 0, handler(nodeid, request[40:]) or b"")
            except OSError as error:
                self.answer(unique, -(error.errno or errno.EIO), b"")

    def answer(self, unique, error, body):
        try:
            os.write(self.device, struct.pack("<IiQ", 16 + len(body), error, unique) + body)
        except OSError as gone:
            # The one who asked has been killed.
            if gone.errno not in (errno.ENOENT, errno.EINTR):
                raise

    def attributes(self, of):
        s = os.fstat(of) if isinstance(of, int) else os.stat(of.fd)
        nanoseconds = [divmod(value, 10**9) for value in (s.st_atime_ns, s.st_mtime_ns, s.st_ctime_ns)]
        return struct.pack(
            "<6Q10I",
            s.st_ino,
            s.st_size,
            s.st_blocks,
            *(n[0] for n in nanoseconds),
            *(n[1] for n in nanoseconds),
            s.st_mode,
            s.st_nlink,
            s.st_uid,
            s.st_gid,
            s.st_rdev & 0xFFFFFFFF,
            BLOCK,
            0,
        )

    def entry(self, parent, name):
        """Looks a name up and takes a reference on what it names."""
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=self.nodes[parent].fd)
        number = os.fstat(fd).st_ino
        with self.lock:
            node = self.nodes.get(number)
            if node is None:
                node = self.nodes[number] = self.node(fd)
            else:
                os.close(fd)
            node.lookups += 1
            return struct.pack("<QQQQII", number, 0, 0, 0, 0, 0) + self.attributes(node)

    def forget(self, nodeid, lookups):
        with self.lock:
            node = self.nodes.get(nodeid)
            if node:
                node.lookups -= lookups
                if node.lookups <= 0 and not node.cache.blocks:
                    os.close(node.fd)
                    del self.nodes[nodeid]

    # Handlers.

    def on_init(self, _, body):
        major, minor, readahead, flags = struct.unpack_from("<IIII", body)
        return struct.pack(
            "<IIIIHHIIHHI28x",
            7,
            min(minor, 36),
            readahead,
            flags & INIT_FLAGS,
            32,
            24,
            MAX_WRITE,
            1,
            MAX_WRITE // 4096,
            0,
            0,
        )

    def on_lookup(self, nodeid, body):
        return self.entry(nodeid, name_in(body))

    def on_forget(self, nodeid, body):
        self.forget(nodeid, struct.unpack_from("<Q", body)[0])

    def on_batch_forget(self, _, body):
        for index in range(struct.unpack_from("<I", body)[0]):
            self.forget(*struct.unpack_from("<QQ", body, 8 + 16 * index))

    def on_getattr(self, nodeid, _):
        return struct.pack("<QII", 0, 0, 0) + self.attributes(self.nodes[nodeid])

    def on_setattr(self, nodeid, body):
        valid, _, _, size = struct.unpack_from("<IIQQ", body)
        node = self.nodes[nodeid]
        if valid & FATTR_SIZE:
            os.truncate(node.path(), size)
        if valid & FATTR_MODE:
            os.chmod(node.path(), struct.unpack_from("<I", body, 68)[0])
        return self.on_getattr(nodeid, b"")

    def on_open(self, nodeid, body):
        flags = struct.unpack_from("<I", body)[0]
        if self.no_direct and flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "no O_DIRECT here, as on some file systems")
        return self.opened(os.open(self.nodes[nodeid].path(), backing_flags(flags)))

    def on_create(self, nodeid, body):
        flags, mode, umask = struct.unpack_from("<III", body)
        name = name_in(body[16:])
        fd = os.open(name, backing_flags(flags) | os.O_CREAT, mode & ~umask, dir_fd=self.nodes[nodeid].fd)
        return self.entry(nodeid, name) + self.opened(fd)

    def opened(self, fd):
        return struct.pack("<QIi", fd, FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES, 0)

    def on_read(self, nodeid, body):
        fd, offset, size, _, _, flags = struct.unpack_from("<QQIIQI", body)
        with self.lock:
            cache = self.nodes[nodeid].cache
            if flags & os.O_DIRECT:
                cache.write_back_range(fd, offset, size)
            return cache.read(fd, offset, size)

    def on_write(self, nodeid, body):
        fd, offset, size, _, _, flags = struct.unpack_from("<QQIIQI", body)
        data, through = body[40 : 40 + size], self.no_cache or flags & THROUGH
        with self.lock:
            cache = self.nodes[nodeid].cache
            if flags & os.O_APPEND:
                offset = os.fstat(fd).st_size
            if self.writes:
                self.writes.write(b"%d %d\n" % (time.monotonic_ns(), os.fstat(fd).st_ino))
            if through:
                cache.write_back_range(fd, offset, size)
                os.pwrite(fd, data, offset)
            else:
                # The length is the storage's at once, the content is not.
                if offset + size > os.fstat(fd).st_size:
                    os.ftruncate(fd, offset + size)
                cache.write(fd, offset, data)
            kind = "through" if through else "buffered"
            self.statistics.add(f"{kind}_writes", 1)
            self.statistics.add(f"{kind}_bytes", size)
        return struct.pack("<II", size, 0)

    def on_fsync(self, nodeid, _):
        node = self.nodes[nodeid]
        with self.lock:
            dirty = list(node.cache.blocks)
        # As long as a drive or a server takes; nothing is on the storage before that.
        time.sleep(self.sync_seconds)
        with self.lock:
            writable = os.open(node.path(), os.O_RDWR)
            node.cache.write_back(writable, dirty)
            os.close(writable)
            self.statistics.add("syncs", 1)

    def on_fallocate(self, nodeid, body):
        fd, offset, length, mode = struct.unpack_from("<QQQI", body)
        with self.lock:
            self.nodes[nodeid].cache.write_back_range(fd, offset, length)
            if LIBC.fallocate(fd, mode, offset, length) != 0:
                raise OSError(ctypes.get_errno(), "fallocate")

    def on_lseek(self, _, body):
        fd, offset, whence = struct.unpack_from("<QQI", body)
        return struct.pack("<Q", os.lseek(fd, offset, whence))

    def on_release(self, _, body):
        os.close(struct.unpack_from("<Q", body)[0])

    def on_flush(self, *_):
        # What a program closes is not flushed by that.
        return b""

    def on_link(self, nodeid, body):
        old, name = struct.unpack_from("<Q", body)[0], name_in(body[8:])
        os.link(self.nodes[old].path(), name, dst_dir_fd=self.nodes[nodeid].fd, follow_symlinks=True)
        return self.entry(nodeid, name)

    def on_unlink(self, nodeid, body):
        os.unlink(name_in(body), dir_fd=self.nodes[nodeid].fd)

    def on_rename(self, nodeid, body, header=8):
        target = self.nodes[struct.unpack_from("<Q", body)[0]].fd
        old, new = body[header:].split(b"\0")[:2]
        os.rename(old, new, src_dir_fd=self.nodes[nodeid].fd, dst_dir_fd=target)

    def on_rename2(self, nodeid, body):
        if struct.unpack_from("<QI", body)[1]:
            raise OSError(errno.EINVAL, "no flags of rename are served")
        self.on_rename(nodeid, body, header=16)

    def on_mkdir(self, nodeid, body):
        mode, umask = struct.unpack_from("<II", body)
        os.mkdir(name_in(body[8:]), mode & ~umask, dir_fd=self.nodes[nodeid].fd)
        return self.entry(nodeid, name_in(body[8:]))

    def on_opendir(self, nodeid, _):
        fd = os.open(self.nodes[nodeid].path(), os.O_RDONLY | os.O_DIRECTORY)
        with os.scandir(fd) as entries:
            self.directories[fd] = [
                (e.name.encode(), e.inode(), 4 if e.is_dir(follow_symlinks=False) else 8) for e in entries
            ]
        return struct.pack("<QIi", fd, 0, 0)

    def on_readdir(self, _, body):
        fd, offset, size = struct.unpack_from("<QQI", body)
        answer = b""
        for index, (name, number, kind) in enumerate(self.directories[fd][offset:], offset + 1):
            entry = struct.pack("<QQII", number, index, len(name), kind) + name
            entry += bytes(-len(entry) % 8)
            if len(answer) + len(entry) > size:
                break
            answer += entry
        return answer

    def on_releasedir(self, _, body):
        fd = struct.unpack_from("<Q", body)[0]
        del self.directories[fd]
        os.close(fd)

    def on_fsyncdir(self, *_):
        time.sleep(self.sync_seconds)

    def on_statfs(self, nodeid, _):
        s = os.fstatvfs(self.nodes[nodeid].fd)
        return struct.pack(
            "<5Q4I24x",
            s.f_blocks,
            s.f_bfree,
            s.f_bavail,
            s.f_files,
            s.f_ffree,
            s.f_bsize,
            s.f_namemax,
            s.f_frsize,
            0,
        )


OPCODES = {
    1: "lookup",
    2: "forget",
    3: "getattr",
    4: "setattr",
    9: "mkdir",
    10: "unlink",
    12: "rename",
    13: "link",
    14: "open",
    15: "read",
    16: "write",
    17: "statfs",
    18: "release",
    20: "fsync",
    25: "flush",
    26: "init",
    27: "opendir",
    28: "readdir",
    29: "releasedir",
    30: "fsyncdir",
    35: "create",
    42: "batch_forget",
    43: "fallocate",
    45: "rename2",
    46: "lseek",
}
# Forget, interrupt and batch forget: the kernel waits for no answer.
NO_ANSWER = {2, 36, 42}


def name_in(body):
    return body.split(b"\0", 1)[0]


def backing_flags(flags):
    """How the server itself opens the file: readable too, since it fills whole blocks; its own page cache is
    the storage."""
    kept = flags & ~(THROUGH | os.O_NOFOLLOW | os.O_APPEND | os.O_ACCMODE)
    access = flags & os.O_ACCMODE
    return kept | (os.O_RDWR if access == os.O_WRONLY else access)


def mount(point):
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={device},rootmode={stat.S_IFDIR:o},user_id=0,group_id=0,allow_other,default_permissions"
    if LIBC.mount(b"lossyfs", os.fsencode(point), b"fuse.lossyfs", 0, options.encode()) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"cannot mount {point}: {os.strerror(number)}")
    return device


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("backing")
    parser.add_argument("point")
    parser.add_argument("statistics")
    parser.add_argument("--sync-ms", type=float, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-cache", action="store_true", help="every write goes to the storage")
    parser.add_argument("--no-direct", action="store_true", help="O_DIRECT is refused")
    parser.add_argument("--writes", help="a file that gets a line for each write: its time and the inode")
    args = parser.parse_args()
    statistics = Statistics(args.statistics, create=True)
    server = Server(args.backing, mount(args.point), statistics, args)
    threads = [threading.Thread(target=server.serve) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    print("mounted", flush=True)
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    sys.exit(main())
