"""Programs of this tree that differ in what two hosts compare: the version, and the number of the machine's
model (docs/protocol.md, "Forming a pair").

    builds.next_release()     the next version, with the same model
    builds.other_model()      a later version, with another model

Each is built from a copy of the tree outside of it, in the release profile, and kept under a name that has
the hash of all that it was built of. Both copies share one directory of compiled crates, so the libraries of
others are compiled once. The first build takes as long as a release build does.
"""

import functools
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys

from .pair import ROOT

CACHE = pathlib.Path.home() / ".cache/lockstep/upgrade"
# What the program is made of; whole directories.
PARTS = ("Cargo.toml", "Cargo.lock", "rust-toolchain.toml", "rustfmt.toml", "crates", "xtask")
VERSION = re.compile(r'^version = "(\d+)\.(\d+)\.(\d+)"$', re.MULTILINE)
MODEL = re.compile(r"^pub const MODEL: u32 = (\d+);$", re.MULTILINE)
MODEL_FILE = "crates/machine/src/lib.rs"


def version():
    """The version of this tree."""
    return VERSION.search((ROOT / "Cargo.toml").read_text()).group(0).split('"')[1]


def model():
    """The number of this tree's machine model."""
    return int(MODEL.search((ROOT / MODEL_FILE).read_text())[1])


@functools.cache
def next_release():
    """A program of the next version."""
    return built("next", {"Cargo.toml": lambda text: later(text, patch=1)})


@functools.cache
def other_model():
    """A program of the version after that, whose machine has the number after this tree's."""
    edits = {
        "Cargo.toml": lambda text: later(text, patch=2),
        MODEL_FILE: lambda text: MODEL.sub(f"pub const MODEL: u32 = {model() + 1};", text, count=1),
    }
    return built("model", edits)


def later(text, patch):
    """A Cargo.toml of a workspace whose version is later by so many patches."""
    return VERSION.sub(lambda own: f'version = "{own[1]}.{own[2]}.{int(own[3]) + patch}"', text, count=1)


def contents(edits):
    """What the program is made of, {name: bytes}, with these edits of texts."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *PARTS],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    files = {name: (ROOT / name).read_bytes() for name in sorted(filter(None, listed.stdout.split("\0")))}
    for name, edit in edits.items():
        before = files[name].decode()
        files[name] = edit(before).encode()
        if files[name].decode() == before:
            raise SystemExit(f"{name} has no longer what a test must change in it")
    return files


def built(name, edits):
    """The program, built now if the cache does not have it."""
    files = contents(edits)
    digest = hashlib.sha256()
    for path, data in files.items():
        digest.update(f"{path} {len(data)}\n".encode() + data)
    program = CACHE / f"lockstep-{name}-{digest.hexdigest()[:16]}"
    if program.exists():
        return program
    source, target = CACHE / f"source-{name}", CACHE / "target"
    put(source, files)
    print(f"building {program.name}", file=sys.stderr, flush=True)
    environment = {**os.environ, "CARGO_TARGET_DIR": str(target), "LOCKSTEP_COMMIT": name}
    # Not --locked: the lock file names the workspace's own crates with their versions, which are others now.
    command = ["nice", "-n", "5", "cargo", "build", "--release", "--offline"]
    subprocess.run([*command, "-p", "cli", "--bin", "lockstep"], cwd=source, env=environment, check=True)
    # Whoever looks for the program meanwhile, or after this one was killed, finds a whole one or none.
    part = CACHE / f".{program.name}.{os.getpid()}"
    try:
        shutil.copy(target / "release/lockstep", part)
        part.rename(program)
    finally:
        part.unlink(missing_ok=True)
    for old in CACHE.glob(f"lockstep-{name}-*"):
        if old != program:
            old.unlink()
    return program


def put(source, files):
    """Makes the directory have these files and no others. A file that is as it should be keeps its time, so
    that what was compiled of it need not be compiled again."""
    for path in source.rglob("*") if source.exists() else []:
        if path.is_file() and str(path.relative_to(source)) not in files:
            path.unlink()
    for name, data in files.items():
        path = source / name
        if not path.exists() or path.read_bytes() != data:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
