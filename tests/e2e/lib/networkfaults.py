"""Faults of the network of a pair: a case is one pair on hosts in network namespaces, with faults until one
ends it.

All is drawn from the seed and the case's number. The guest is the appliance's Redis; its clients, the gateway
and the two replicas are on hosts of their own (lib/namespaces.py).
"""

import time

from . import cases, namespaces
from .halves import machines, silences
from .ledger import Ledger
from .pair import REDIS, Failed, Pair
from .processfaults import tally

PATIENCE, END_PATIENCE, ATTEMPTS = 120, 20, 3
FAULTS_PER_CASE = 5
# Cuts up to this long must not end protection at a timeout of 500 ms.
CUT_GOAL_MS = 350
# By chance: how often each kind is drawn.
KINDS = {
    "cut": 4,
    "one-way": 3,
    "isolate": 3,
    "port-cut": 2,
    "delay": 2,
    "loss": 2,
    "reorder": 2,
    "flap": 3,
    "arbiter-away": 2,
    "arbiter-and-cut": 2,
    "death": 3,
}


def require():
    """Ends the program with a sentence if this machine cannot make namespaces."""
    namespaces.require()


class Case(cases.Case):
    """One pair on its hosts."""

    kind = "network"

    def __init__(self, seed, number):
        super().__init__(seed, number)
        self.harts, self.killed = self.chance.choice([1, 4]), set()
        self.where = {"guest": "redis", "harts": self.harts, "phase": "load"}

    def play(self, directory):
        for _ in range(ATTEMPTS):
            try:
                return self.attempt()
            except Failed as failure:
                # On a busy machine a pair may lose its protection before there was any fault; that is no
                # case.
                self.counts["false"] += 1
                self.complaints.append(f"before any fault: {failure}")
        self.complain("stuck", f"no pair came about, {ATTEMPTS} times")
        return self.result()

    def attempt(self):
        with Pair(machines.LOCKSTEP, far=("a", "b")) as self.pair:
            self.pair.machine["--harts"] = self.harts
            self.pair.start()
            self.network = self.pair.network
            address = self.pair.host("gateway").address
            self.ledgers = [Ledger(self.pair.host("client"), address, REDIS, every_s=0.002) for _ in range(2)]
            self.progress(5)
            self.halves = [self.pair.primary, self.pair.backup]
            self.said = {half.name: len(half.said()) for half in self.halves}
            for _ in range(FAULTS_PER_CASE):
                time.sleep(self.chance.uniform(0.1, 0.5))
                self.fault()
                if not self.settle():
                    break
            self.look_back()
            # The end of a case is no end of a VM that somebody would want to keep.
            for half in self.halves:
                half.kill()
        return self.result()

    def progress(self, more, seconds=PATIENCE):
        return all(ledger.wait_for(more, seconds) for ledger in self.ledgers)

    # Faults. Each ends healed.

    def fault(self):
        kind = self.chance.choices(list(KINDS), list(KINDS.values()))[0]
        self.faults.append({"what": kind, "victim": "", "ms": None})
        getattr(self, f"do_{kind.replace('-', '_')}")()
        self.network.heal_all()
        for name in ("a", "b"):
            self.network.delay(name, 0)
        self.pair.give_back("primary", "backup")

    def told(self, victim, ms):
        self.faults[-1] |= {"victim": victim, "ms": ms}
        return ms

    def length(self):
        """Below what must be borne, around the timeout, or far above it."""
        return self.chance.randrange(*self.chance.choice([(50, 351), (351, 800), (800, 3000)]))

    def do_cut(self, victim="a-b"):
        ms = self.told(victim, self.length())
        self.network.cut("a", "b", ms=ms)
        time.sleep(ms / 1e3)

    def do_one_way(self):
        one, other = self.chance.choice([("a", "b"), ("b", "a")])
        ms = self.told(f"{one}->{other}", self.length())
        self.network.cut(one, other, ms=ms, both_ways=False)
        time.sleep(ms / 1e3)

    def do_isolate(self):
        name = self.chance.choice(["a", "b"])
        ms = self.told(name, self.length())
        self.network.isolate(name, ms=ms)
        time.sleep(ms / 1e3)

    def do_port_cut(self):
        ms = self.told("a-gateway", self.length())
        self.network.cut("a", "gateway", ms=ms)
        time.sleep(ms / 1e3)

    def do_delay(self):
        ms = self.told(self.chance.choice(["a", "b"]), self.chance.randrange(5, 101))
        self.network.delay(self.faults[-1]["victim"], ms)
        time.sleep(self.chance.uniform(1, 3))

    def do_loss(self):
        permille = self.chance.choice([10, 50, 200])
        self.told(f"a-b {permille / 10:.0f}%", None)
        self.network.lose("a", "b", permille)
        time.sleep(self.chance.uniform(2, 4))

    def do_reorder(self):
        ms = self.told("b", self.chance.randrange(2, 31))
        self.network.delay("b", 1, jitter_ms=ms)
        time.sleep(self.chance.uniform(1, 3))

    def do_flap(self):
        times = self.chance.randrange(3, 11)
        self.told(f"a-b x{times}", None)
        for _ in range(times):
            ms = self.chance.randrange(30, 251)
            self.network.cut("a", "b", ms=ms)
            time.sleep((ms + self.chance.randrange(50, 300)) / 1e3)

    def do_arbiter_away(self):
        ms = self.told("both", self.chance.randrange(500, 3000))
        self.pair.take_away("primary", "backup")
        time.sleep(ms / 1e3)

    def do_arbiter_and_cut(self):
        sides = self.chance.choice([("primary", "backup"), ("primary",), ("backup",)])
        self.pair.take_away(*sides)
        self.do_cut(victim=f"a-b, {'+'.join(sides)}")
        time.sleep(self.chance.uniform(0, 1.5))

    def do_death(self):
        """The primary's host dies: what was on its way, and what its kernel had not sent yet, is lost."""
        ms = self.told("a", self.chance.randrange(0, 301))
        self.network.isolate("a", ms=ms + 1000)
        time.sleep(ms / 1e3)
        self.killed.add("primary")
        self.pair.primary.kill()
        time.sleep(1)

    # What is left.

    def settle(self):
        """Waits for the guest to go on. Is it still protected?"""
        if not self.progress(10):
            self.complain("stuck", f"the clients get no answers: {self.pair.story()}")
            self.faults[-1]["then"] = "stuck"
            return False
        deadline = time.monotonic() + END_PATIENCE
        while time.monotonic() < deadline:
            roles = [half.role() if half.ended() is None else "ended" for half in self.halves]
            if roles == ["primary", "backup"]:
                self.faults[-1]["then"] = "protected"
                return True
            if sorted(roles) == ["ended", "solo"]:
                break
            time.sleep(0.02)
        self.faults[-1]["then"] = "alone"
        last = self.faults[-1]
        bearable = ["cut", "one-way", "isolate", "port-cut"]
        if last["what"] in ["delay", "reorder", "arbiter-away"] or (
            last["what"] in bearable and last["ms"] <= CUT_GOAL_MS
        ):
            self.counts["false"] += 1
        return False

    def look_back(self):
        roles = [half.role() for half in self.halves]
        living = [half for half in self.halves if half.ended() is None]
        if roles != ["primary", "backup"] or len(living) < 2:
            if len(living) != 1:
                self.complain(
                    "split" if living else "stuck", f"{len(living)} halves go on: {self.pair.story()}"
                )
            self.check_words()
        self.count(tally(self.ledgers))

    def check_words(self):
        for half in self.halves:
            if half.name in self.killed:
                continue
            said = half.said()[self.said[half.name] :]
            for sentence in silences(f"{half.name} ({half.role()})", said, half.events()):
                self.complain("silent", sentence)
