"""Faults of the processes of a pair: a case is one pair with blinks, and a last fault that ends its
protection.

All is drawn from the seed and the case's number. Two guests: the bare server (tests/guests), which is up at
once and whose answers carry a hash of its whole life; and the appliance's Redis behind a real gateway, on 1
or 4 harts.
"""

import contextlib
import pathlib
import re
import socket
import threading
import time

from . import cases, halves
from .halves import Pair, machines
from .ledger import Ledger
from .outside import HALVES, Bare, Wire

ROOT = pathlib.Path(__file__).resolve().parents[3]
TIMEOUT_MS, REDIS = 500, 6379
# None of these is measured: the machine may be busy.
PATIENCE, END_PATIENCE = 120, 20
# The longest blink that must not end protection at this timeout; longer ones may.
BLINK_GOAL_MS = 350


class Here:
    """This host, as a ledger knows hosts."""

    @staticmethod
    def connect(address, port, timeout):
        connection = socket.create_connection((address, port), timeout)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection


class BareGuest:
    """tests/guests/server.bin: one hart, no boot to speak of."""

    boot_s = 0.1

    def __init__(self, stack, directory, harts):
        with open(directory / "disk.raw", "wb") as disk:
            disk.truncate(64 << 10)
        consoles = {half: directory / f"console-{half}" for half in HALVES}
        self.outside = Bare(directory, consoles)
        stack.callback(self.outside.close)
        self.flags = [
            "--firmware",
            ROOT / "tests/guests/server.bin",
            "--memory",
            "16M",
            "--disk",
            directory / "disk.raw",
        ]
        self.own = {half: [*self.outside.net(half), "--serial", f"unix:{consoles[half]}"] for half in HALVES}

    def begin(self, gone):
        self.outside.start()
        return self.outside.wait_for(1, PATIENCE)

    def wait_for(self, more, seconds):
        return self.outside.wait_for(more, seconds)

    def verdict(self):
        """What the client has to complain of, by kind."""
        wrong = len(self.outside.contradictions)
        return {"acknowledged": self.outside.highest, "lost": 0, "wrong": wrong, "reset": 0, "sentences": []}


class RedisGuest:
    """The appliance's Redis behind a gateway, with two clients that never reconnect."""

    boot_s = 2.5

    def __init__(self, stack, directory, harts):
        self.port = machines.start_gateway(stack, directory, [REDIS])[REDIS]
        self.outside = Wire(directory, directory / "gateway")
        stack.callback(self.outside.close)
        mac = ":".join(f"{byte:02x}" for byte in Wire.mac)
        image = machines.image("appliance")
        self.flags = [*machines.vm_flags(image, "256M"), "--harts", harts, "--mac", mac, "--serial", "none"]
        self.own = {half: self.outside.net(half) for half in HALVES}
        self.ledgers = []

    def begin(self, gone):
        if not halves.wait_for_port(self.port, PATIENCE, b"PING\r\n", b"+PONG", gone=gone):
            return False
        self.ledgers = [Ledger(Here, "127.0.0.1", self.port, every_s=0.002) for _ in range(2)]
        return self.wait_for(1, PATIENCE)

    def wait_for(self, more, seconds):
        return all(ledger.wait_for(more, seconds) for ledger in self.ledgers)

    def verdict(self):
        return tally(self.ledgers)


def tally(ledgers):
    """Ends the clients, has them read everything back, and counts what they have to complain of."""
    result = {"acknowledged": 0, "lost": 0, "wrong": 0, "reset": 0, "sentences": []}
    for ledger in ledgers:
        sentence = ledger.verdict(PATIENCE)
        result["acknowledged"] += len(ledger.acknowledged)
        result["wrong"] += ledger.wrong
        lost = re.search(r"(\d+) are lost", sentence or "")
        if lost:
            result["lost"] += int(lost[1])
        elif sentence:
            result["reset"] += 1
        if sentence:
            result["sentences"].append(sentence)
    return result


class Slowed:
    """The backup gets half of its time, in pieces: it lags."""

    def __init__(self, half):
        self.half, self.ending = half, threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.ending.is_set():
            self.half.stop()
            self.ending.wait(0.03)
            self.half.go_on()
            self.ending.wait(0.03)

    def end(self):
        self.ending.set()
        self.thread.join()


def draw(chance):
    """What a case is: a guest, a phase, blinks and the last fault."""
    redis = chance.random() < 0.5
    return {
        "guest": "redis" if redis else "bare",
        "harts": chance.choice([1, 4]) if redis else 1,
        "phase": chance.choices(["load", "boot", "lag"], [6, 2, 2])[0],
        "blinks": [
            (chance.choice(HALVES), chance.randrange(50, 401)) for _ in range(chance.choice([0, 1, 2, 3, 4]))
        ],
        "last": chance.choices(["kill", "stop"], [5, 4])[0],
        "victim": chance.choices(HALVES, [6, 4])[0],
        "stop_ms": round(TIMEOUT_MS * chance.uniform(1.2, 4)),
    }


class Case(cases.Case):
    """One pair."""

    kind = "process"

    def __init__(self, seed, number):
        super().__init__(seed, number)
        self.plan = draw(self.chance)
        self.where = {key: self.plan[key] for key in ["guest", "harts", "phase"]}

    def play(self, directory):
        with contextlib.ExitStack() as stack:
            guest_kind = RedisGuest if self.plan["guest"] == "redis" else BareGuest
            self.guest = guest_kind(stack, directory, self.plan["harts"])
            self.pair = Pair(stack, directory, self.guest.flags, own=self.guest.own, timeout_ms=TIMEOUT_MS)
            if not self.pair.wait_until_paired(PATIENCE):
                self.complain("stuck", f"no pair came about: {self.last_words()}")
                return self.result()
            self.said = {half.role: len(half.said()) for half in self.pair.halves.values()}
            if self.plan["phase"] != "boot" and not self.begin():
                return self.result()
            if self.protected():
                self.inject()
            else:
                # On a busy machine protection may end by itself; what is left must be well all the same.
                self.counts["false"] += 1
                self.complaints.append(f"before any fault: {self.last_words()}")
            if self.plan["phase"] == "boot" and not self.begin():
                return self.result()
            self.look_back()
        return self.result()

    def last_words(self):
        halves_now = self.pair.halves.values()
        return "; ".join(
            f"{half.role} ({half.role_now()}): {half.said().strip().splitlines()[-1:]}" for half in halves_now
        )

    def begin(self):
        gone = lambda: all(half.ended() for half in self.pair.halves.values())  # noqa: E731
        if self.guest.begin(gone):
            return True
        self.complain("stuck", f"the guest does not answer: {self.last_words()}")
        return False

    # Faults.

    def inject(self):
        chance, slowed = self.chance, None
        if self.plan["phase"] == "lag":
            slowed = Slowed(self.pair.backup)
            time.sleep(chance.uniform(0.2, 0.5))
        for victim, ms in self.plan["blinks"]:
            self.pause()
            if victim == "backup" and slowed:
                slowed.end()
                slowed = None
            self.blink(self.pair.halves[victim], ms)
            if not self.settle():
                break
        else:
            self.pause()
            if slowed and self.plan["victim"] == "backup":
                slowed.end()
            self.last_fault(slowed)
        if slowed:
            slowed.end()

    def pause(self):
        if self.plan["phase"] == "boot":
            time.sleep(self.chance.uniform(0, self.guest.boot_s))
        else:
            time.sleep(self.chance.uniform(0.05, 0.4))

    def note(self, what, half, ms=None):
        self.faults.append({"what": what, "victim": half.role, "ms": ms})

    def blink(self, half, ms):
        self.note("blink", half, ms)
        half.stop()
        time.sleep(ms / 1e3)
        half.go_on()

    def settle(self):
        """Waits until the guest goes on after a blink. Is it still protected? If not, was that said?"""
        if self.plan["phase"] == "boot":
            time.sleep(0.1)
        else:
            self.guest.wait_for(3, PATIENCE)
        if self.protected():
            self.faults[-1]["then"] = "protected"
            return True
        self.faults[-1]["then"] = "alone"
        if self.faults[-1]["ms"] <= BLINK_GOAL_MS:
            self.counts["false"] += 1
        return False

    def protected(self):
        pair = self.pair
        roles = [pair.primary.role_now(), pair.backup.role_now()]
        return roles == ["primary", "backup"] and not any(half.ended() for half in pair.halves.values())

    def last_fault(self, slowed):
        plan, victim = self.plan, self.pair.halves[self.plan["victim"]]
        survivor = self.pair.other(victim)
        if plan["last"] == "kill":
            self.note("kill", victim)
            victim.kill()
        else:
            self.note("stop", victim, plan["stop_ms"])
            victim.stop()
            time.sleep(plan["stop_ms"] / 1e3)
        if slowed and survivor.role == "backup":
            # It may take its time back now.
            slowed.end()
        victim.go_on()
        survived = self.pair.wait_for_role(survivor, ["solo"], END_PATIENCE if plan["last"] == "kill" else 3)
        self.faults[-1]["then"] = (
            "alone" if survived else "protected" if self.protected() else survivor.role_now()
        )
        if plan["last"] == "kill" and not survived:
            self.complain("stuck", f"the survivor is {survivor.role_now()}: {self.last_words()}")

    # What is left.

    def look_back(self):
        if not self.guest.wait_for(20, PATIENCE):
            self.complain("stuck", f"the clients get no answers: {self.last_words()}")
        if not self.protected():
            self.check_the_end()
        self.count(self.guest.verdict())
        if self.guest.outside.shown.is_split():
            self.complain("split", self.guest.outside.shown.story())

    def check_the_end(self):
        """One half is alone, the other has ended, and each has said why."""
        deadline = time.monotonic() + END_PATIENCE
        while time.monotonic() < deadline and sum(half.ended() for half in self.pair.halves.values()) != 1:
            time.sleep(0.02)
        for half in self.pair.halves.values():
            if half.killed:
                continue
            said = half.said()[self.said[half.role] :]
            for sentence in halves.silences(f"{half.role} ({half.role_now()})", said, half.events()):
                self.complain("silent", sentence)
        living = [half for half in self.pair.halves.values() if not half.ended()]
        if len(living) != 1:
            self.complain(
                "stuck" if not living else "split", f"{len(living)} halves go on: {self.last_words()}"
            )
