"""Scenarios of an operator's site: signals, full pipes, wrong callers, files that are not what they seem.

Each is played by `hostile.py`. What an operator does wrong must be refused with a sentence that tells what to
do, and must never cost a running VM its protection.
"""

import fcntl
import os
import re
import signal
import stat
import time

from lib.ledger import PATIENCE_S
from lib.pair import BACKUP_PORT, Failed, Process
from lib.report import Scenarios, ensure
from lib.scene import GOES_ON_S, all_there, client_of, goes_on, served

SCENARIOS = Scenarios()


@SCENARIOS.add(
    "open-key",
    "A key file that others can read is refused, by both halves and the gateway, until somebody insists",
)
def open_key(turn):
    with turn.pair() as pair:
        pair.key = pair.make_key("open", mode=0o644)
        accepted = []
        for starting, role in [
            (pair.start_gateway, "gateway"),
            (pair.start_backup, "backup"),
            (pair.start_primary, "primary"),
        ]:
            try:
                starting()
            except Failed:
                pass
            # It may look at its key only after it has told where it listens.
            process = getattr(pair, role)
            ended = process.ended(3)
            if ended in (None, 0):
                accepted.append(role)
                process.kill()
            elif "key" not in process.said():
                raise Failed(f"the {role} ended without a word of its key: {process.last_words()}")
        ensure(not accepted, f"a key that everybody can read was taken by {', '.join(accepted)}")
        for role in pair.flags:
            pair.flags[role]["--allow-open-key"] = True
        pair.start()


@SCENARIOS.add(
    "file-modes",
    "Nobody but the owner can read or write events, consoles, sockets and what is written for the pair",
)
def file_modes(turn):
    with turn.pair() as pair:
        pair.flags["primary"]["--serial"] = pair.directory / "console.log"
        pair.flags["backup"]["--serial"] = f"unix:{pair.directory / 'console.socket'}"
        address = pair.host("gateway").address
        second = pair.host("gateway").start(
            [
                pair.program,
                "gateway",
                "--listen",
                pair.directory / "gateway.socket",
                "--forward",
                f"{address}:7000-:7000",
            ]
        )
        before = os.umask(0o022)
        try:
            pair.start()
        finally:
            os.umask(before)
        names = ["primary.events", "backup.events", "console.log", "console.socket", "gateway.socket"]
        open_ones = []
        for name in names:
            path = pair.directory / name
            ensure(path.exists(), f"{name} is not there")
            mode = stat.S_IMODE(path.stat().st_mode)
            if mode & 0o077:
                open_ones.append(f"{name} {mode:o}")
        second.kill()
        ensure(not open_ones, f"others can open {', '.join(open_ones)}")


@SCENARIOS.add(
    "sandbox",
    "Each thread of both halves and the gateway has a system call filter, no capability, and cannot get any",
)
def sandbox(turn):
    with served(turn) as (pair, ledger):
        bad = []
        for process in (pair.gateway, pair.primary, pair.backup):
            for thread in process.threads():
                wrong = [
                    f"{name}: {thread[name].strip()}"
                    for name, right in [
                        ("Seccomp", "2"),
                        ("NoNewPrivs", "1"),
                        ("CapEff", "0" * 16),
                        ("CapPrm", "0" * 16),
                    ]
                    if thread[name].strip() != right
                ]
                if wrong:
                    bad.append(f"{process.name}/{thread['Name'].strip()} ({', '.join(wrong)})")
        ensure(not bad, f"{len(bad)} threads could do more than they need: {'; '.join(bad[:4])}")
        goes_on(ledger, "in the sandbox")
        begin = time.monotonic()
        pair.primary.kill()
        goes_on(ledger, "after the primary was killed in the sandbox")
        return f"failover in the sandbox: {ledger.back_after(begin) * 1000:.0f} ms"


@SCENARIOS.add("sighup", "SIGHUP of a closed terminal does nothing to either half")
def sighup(turn):
    with served(turn) as (pair, ledger):
        for half in (pair.primary, pair.backup):
            half.signal(signal.SIGHUP)
            goes_on(ledger, f"after SIGHUP to the {half.name}")
            ensure(half.ended(1) is None, f"SIGHUP ended the {half.name}: {pair.story()}")
        ensure(pair.protected(), f"after SIGHUP the pair is none any more: {pair.story()}")


@SCENARIOS.add(
    "sigterm-primary",
    "SIGTERM of the primary leaves the VM to its backup at once, without a lease to wait for",
    runs=5,
)
def sigterm_primary(turn):
    with served(turn) as (pair, ledger), turn.noise() as noise:
        begin = time.monotonic()
        pair.primary.signal(signal.SIGTERM)
        goes_on(ledger, "after SIGTERM to the primary")
        pause = ledger.pause_around(begin) * 1000
        late = noise.allowed(begin, begin + pause / 1000) * 1000
        status = pair.primary.ended(GOES_ON_S)
        ensure(status == 0, f"the primary ended with {status}: {pair.primary.last_words()}")
        ensure(pair.backup.role() == "solo", f"the backup is not live: {pair.story()}")
        limit = pair.timeout_ms / 2 + late
        live = pair.live_after(begin)
        ensure(
            pause < limit,
            f"the client waited {pause:.0f} ms, and the backup was live after {live}; at most {limit:.0f} ms",
        )
        return f"the client waited {pause:.0f} ms"


@SCENARIOS.add("sigterm-backup", "SIGTERM of the backup leaves the primary alone, which says so", runs=5)
def sigterm_backup(turn):
    with served(turn) as (pair, ledger):
        said = len(pair.primary.said())
        begin = time.monotonic()
        pair.backup.signal(signal.SIGTERM)
        goes_on(ledger, "after SIGTERM to the backup")
        pause = ledger.pause_around(begin) * 1000
        ensure(pair.backup.ended(GOES_ON_S) == 0, f"the backup did not end well: {pair.backup.last_words()}")
        ensure(
            pair.wait_for_role(pair.primary, "solo", GOES_ON_S), f"the primary is not alone: {pair.story()}"
        )
        word = pair.primary.wait_for_word("alone|without a backup|unprotected", 2, after=said)
        ensure(word, f"the primary went on alone and did not say so; it said: {pair.primary.said()[said:]!r}")
        return f"the client waited {pause:.0f} ms"


@SCENARIOS.add(
    "sigterm-alone",
    "The first SIGTERM of a VM that is alone says what it does, the second one pulls the plug",
)
def sigterm_alone(turn):
    with served(turn) as (pair, ledger):
        pair.backup.kill()
        ensure(
            pair.wait_for_role(pair.primary, "solo", GOES_ON_S), f"the primary is not alone: {pair.story()}"
        )
        goes_on(ledger, "after the death of the backup")
        said = len(pair.primary.said())
        pair.primary.signal(signal.SIGTERM)
        ensure(
            pair.primary.ended(2) is None or "poweroff" in pair.primary.said(),
            f"one SIGTERM pulled the plug of a VM alone (exit status {pair.primary.ended()})",
        )
        word = pair.primary.wait_for_word("switch|power|again|second", 2, after=said)
        ensure(word, f"it did not say what SIGTERM does; it said: {pair.primary.said()[said:]!r}")
        goes_on(ledger, "after one SIGTERM")
        # Before the plug is pulled.
        all_there(ledger, pair)
        pair.primary.signal(signal.SIGTERM)
        ensure(pair.primary.ended(5) is not None, "the second SIGTERM did not end it within 5 s")


def fill(pipe):
    """Fills a pipe that nobody reads to its last byte."""
    fcntl.fcntl(pipe, fcntl.F_SETFL, os.O_NONBLOCK)
    for size in (4096, 1):
        try:
            while os.write(pipe, b"\n" * size):
                pass
        except BlockingIOError:
            pass


def with_full_pipes(pair, pipes):
    """A pair whose `pipes` ({role: open pipe}) are full goes on, and so does its backup when the primary
    dies."""
    with client_of(pair, "before the pipes were full") as ledger:
        for pipe in pipes:
            fill(pipe)
        # Figures are written every second.
        end = time.monotonic() + 3
        while time.monotonic() < end:
            goes_on(ledger, "with the primary's and the backup's pipe full", writes=20, seconds=5)
        begin = time.monotonic()
        pair.primary.kill()
        goes_on(ledger, "with its pipe full the backup was to take over, and")
        return f"taken over after {ledger.back_after(begin) * 1000:.0f} ms"


@SCENARIOS.add(
    "events-full", "The VM goes on, and fails over, when nobody reads the pipes that events are written to"
)
def events_full(turn):
    with turn.pair() as pair:
        pipes = []
        for role in ("primary", "backup"):
            path = pair.directory / f"{role}.fifo"
            os.mkfifo(path, 0o600)
            # Open for both, so that opening waits for nobody.
            pipes.append(os.open(path, os.O_RDWR))
            pair.stack.callback(os.close, pipes[-1])
            pair.flags[role]["--events"] = path
        pair.start()
        return with_full_pipes(pair, pipes)


@SCENARIOS.add(
    "stderr-full", "The VM goes on, and fails over, when nobody reads the pipes of its standard errors"
)
def stderr_full(turn):
    with turn.pair() as pair:
        pipes = {}
        for role in ("primary", "backup"):
            path = pair.directory / f"{role}.stderr"
            os.mkfifo(path, 0o600)
            pipes[role] = os.open(path, os.O_RDWR)
            pair.stack.callback(os.close, pipes[role])
        pair.start_gateway()
        # The harness reads what they say in a file, which is a pipe here: started without waiting for a word.
        pair.backup = plain(pair, "b", "backup")
        said = b""
        while f"{BACKUP_PORT}\n".encode() not in said:
            said += os.read(pipes["backup"], 65536)
        pair.primary = plain(pair, "a", "primary")
        pair.wait_until_ready()
        return with_full_pipes(pair, pipes.values())


def plain(pair, host, role):
    """Starts one half whose errors go to a pipe, and that has something to tell there."""
    process = Process(
        pair.host(host), role, pair.words(role), pair.directory, env={**os.environ, "RUST_LOG": "info"}
    )
    process.said = lambda: "(its standard error is a pipe)"
    return process


@SCENARIOS.add(
    "wrong-name",
    "A waiting backup outlives callers with the wrong name, and the genuine primary still gets in",
)
def wrong_name(turn):
    with turn.pair() as pair:
        pair.start_gateway()
        pair.start_backup()
        for number in range(3):
            pair.flags["primary"]["--name"] = f"other{number}"
            pair.start_primary()
            status = pair.primary.ended(PATIENCE_S)
            ensure(status not in (None, 0), f"a primary with another VM's name ended with {status}")
            ensure(
                pair.backup.ended(1) is None,
                f"a caller with the wrong name ended the backup: {pair.backup.last_words()}",
            )
        del pair.flags["primary"]["--name"]
        pair.start_primary()
        pair.wait_until_ready()
        ensure(pair.protected(), f"the genuine primary did not get a pair: {pair.story()}")


def refused_before_ready(pair, word):
    """Both halves are started; Failed unless they refuse each other with a sentence that has `word` in it."""
    pair.start_gateway()
    pair.start_backup()
    pair.start_primary()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if "paired with" in pair.backup.said() or "paired with" in pair.primary.said():
            return split(pair)
        if pair.primary.ended() is not None:
            break
        time.sleep(0.05)
    said = pair.primary.said() + pair.backup.said()
    ensure(word in said.lower(), f"no word of the {word} was said; the primary: {pair.primary.last_words()}")
    ensure(pair.primary.ended() not in (None, 0), "the primary still waits, though it was refused")
    return f"the primary: {pair.primary.last_words()}"


def split(pair):
    """They have paired: what happens to the VM when their link is cut?"""
    pair.wait_until_ready()
    ledger = pair.ledger()
    goes_on(ledger, "at the start")
    pair.network.cut("a", "b")
    time.sleep(3)
    roles = f"{pair.primary.role()} and {pair.backup.role()}"
    ledger.abandon()
    raise Failed(f"they formed a pair all the same; 3 s after their link was cut they were {roles}")


@SCENARIOS.add(
    "two-arbiters", "Halves that see different arbiter directories refuse each other before they are a pair"
)
def two_arbiters(turn):
    with turn.pair() as pair:
        other = pair.directory / "other"
        other.mkdir()
        pair.flags["backup"]["--arbiter"] = other
        return refused_before_ready(pair, "arbiter")


@SCENARIOS.add(
    "two-disks",
    "Halves whose disk has the same name but is not the same file refuse each other before they are a pair",
)
def two_disks(turn):
    with turn.pair() as pair:
        for role in ("primary", "backup"):
            directory = pair.directory / f"{role}-disks"
            directory.mkdir()
            with open(directory / "disk.raw", "wb") as disk:
                disk.truncate(16 << 20)
            pair.flags[role]["--disk"] = directory / "disk.raw"
        return refused_before_ready(pair, "disk")


@SCENARIOS.add(
    "arbiter-away",
    "With its arbiter away a failover waits, says for whom since when, and goes on when it is back",
    runs=5,
)
def arbiter_away(turn):
    with served(turn) as (pair, ledger):
        said = len(pair.backup.said())
        pair.take_away("backup")
        pair.primary.kill()
        time.sleep(4)
        ensure(pair.backup.role() == "claiming", f"the backup does not wait for the arbiter: {pair.story()}")
        seen = len(ledger.acknowledged)
        begin = time.monotonic()
        pair.give_back("backup")
        goes_on(ledger, "after the arbiter was back", seconds=5)
        back = ledger.back_after(begin) * 1000
        ensure(len(ledger.acknowledged) > seen, "nothing was written any more")
        told = pair.backup.said()[said:]
        said_so = re.search(r"arbiter.*(waits|stands|waiting).* \d+ (s|ms)", told)
        ensure(said_so, f"it did not say that it waits for the arbiter, and since when; it said: {told!r}")
        return f"on again {back:.0f} ms after the arbiter was"
