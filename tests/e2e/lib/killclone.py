"""`life.py kill-clone`: SIGKILL of either process at random moments of a clone.

A moment is a phase of the clone (docs/events.md, `cloning`), each as likely as the others, and a share of the
time that this phase took last. It is drawn from the seed, the victim and its number, so the plan of a moment
can be had again; where exactly the kill meets the processes cannot.

Half of the moments kill the apprentice, on one VM that lives through all of them with a client on one
connection: the client must be answered right, and in the end the guest is protected, fails over, and switches
itself off. The other half kills the owner, and with it the VM. Then the apprentice must never be live, must
say so and end, or wait on for the next caller; the VM is started again, for which it must be released first,
since a start would otherwise wait ten seconds for a backup. That half has the appliance, which is up in
seconds. A clone that was done when its moment came is no moment: the copy is the backup then, and must take
over.
"""

import collections
import random
import statistics
import time

from .halves import sentences
from .lives import NAME, PATIENCE_S, Failed, until
from .load import client_of

PHASES = ["connecting", "copying", "catching-up", "arming"]
# The events that end a clone.
OVER = ["protected", "clone-failed"]
# In which a process that was called by nobody, or by one who died at once, says what it has to say.
SILENCE_S = 2


class Moments:
    """Draws moments, and knows how long the phases of a clone take."""

    def __init__(self, seed, victim, count):
        self.seed, self.victim, self.count = seed, victim, count
        # How long each phase took the last few times, in seconds.
        self.took = {phase: collections.deque([0.05], maxlen=5) for phase in PHASES}
        # Of the kills: in which phase, and how the clones were over that were over before.
        self.hit, self.late = collections.Counter(), collections.Counter()

    def __iter__(self):
        number = 0
        while sum(self.hit.values()) < self.count:
            number += 1
            drawn = random.Random(f"{self.seed} {self.victim} {number}")
            yield drawn.choice(PHASES), drawn.random()

    def wait(self, owner, before, moment):
        """Waits for a moment of the clone that `owner` makes; `before`: how many events it had."""
        phase, share = moment
        # The last phase is shorter than it takes to hear of it.
        first = PHASES.index(phase) - (phase == "arming")
        until(
            f"{PHASES[first]} or the end of the clone",
            lambda: self.phase(owner, before) in [*PHASES[first:], *OVER],
            every_s=0.001,
        )
        whole = [statistics.median(self.took[one]) for one in PHASES[first : PHASES.index(phase)]]
        time.sleep(sum(whole) + share * statistics.median(self.took[phase]))

    @staticmethod
    def phase(owner, before):
        """In which phase the clone is, or how it is over, as its owner tells."""
        phase = "begun"
        for event in owner.events()[before:]:
            if event["event"] == "cloning":
                phase = event["phase"]
            elif event["event"] in OVER:
                return event["event"]
        return phase

    def learn(self, owner, before):
        """From what the owner has told of a clone that is over."""
        begun = {}
        for event in owner.events()[before:]:
            name = event.get("phase", event["event"])
            if name in [*PHASES, "protected"]:
                begun.setdefault(name, event["time_ns"])
        for phase, following in zip(PHASES, [*PHASES[1:], "protected"]):
            if phase in begun and following in begun:
                self.took[phase].append((begun[following] - begun[phase]) / 1e9)

    def count_hit(self, phase):
        """A kill in that phase, or when the clone was over."""
        if phase in OVER:
            self.late[phase] += 1
        else:
            self.hit[phase] += 1

    def result(self):
        return {
            "moments": sum(self.hit.values()),
            "in_phase": {phase: self.hit[phase] for phase in ["begun", *PHASES] if self.hit[phase]},
            "clones_over_before": dict(self.late),
            "phase_ms": {
                phase: round(statistics.median(took) * 1e3, 1) for phase, took in self.took.items()
            },
        }


def play(make, options):
    seed = options.seed if options.seed is not None else random.randrange(1 << 32)
    options.tell(f"seed {seed}")
    result = {"seed": seed}
    victims = [options.victim] if options.victim else ["apprentice", "owner"]
    for victim, count in zip(victims, shares(options.moments, len(victims))):
        moments = Moments(seed, victim, count)
        if victim == "apprentice":
            result[victim] = kill_apprentices(make(options.guest or "debian"), moments, options)
        else:
            result[victim] = kill_owners(make("appliance"), moments, options)
        options.tell(f"{victim}: {result[victim]}")
    return result


def shares(count, parts):
    return [count // parts + (number < count % parts) for number in range(parts)]


def begin(vm, owner, copy):
    """Has a clone begin; how many events its owner had before."""
    before = len(owner.events())
    vm.tell("protect", NAME, "--to", copy.address, "--no-wait")
    return before


def kill_apprentices(vm, moments, options):
    owner = vm.run()
    client = client_of(vm)
    # A clone from beginning to end, to know how long its phases are.
    before = len(owner.events())
    vm.protect(owner, vm.waits())
    moments.learn(owner, before)
    vm.tell("unprotect", NAME, "--yes")
    kills = []
    for moment in moments:
        copy = vm.waits()
        before = begin(vm, owner, copy)
        moments.wait(owner, before, moment)
        phase = moments.phase(owner, before)
        at = time.time()
        copy.kill()
        until(
            "the owner knows that the copy is gone",
            lambda: {"clone-failed", "alone"} & {one["event"] for one in owner.events()[before:]},
        )
        moments.learn(owner, before)
        # The clone may have been done between the look and the kill.
        phase = "protected" if copy.has_been("backup") else phase
        moments.count_hit(phase)
        kills += [at] if phase not in OVER else []
        client.check()
        progress(options, moments, "apprentice")
    client.goes_on()
    last = vm.protect(owner, vm.waits())
    client.goes_on()
    owner.kill()
    until("go-live", lambda: last.events("go-live"))
    client.goes_on()
    seen, end = client.finish(), time.time()
    gaps = sorted(client.longest_gap_ms(at, at + 1) for at in kills)
    return {
        **moments.result(),
        "answers": len(client.answers),
        "seen": seen,
        "gap_around_kill_ms": {"median": gaps[len(gaps) // 2], "longest": gaps[-1]},
        "longest_client_gap_ms": client.longest_gap_ms(0, end),
        "end": vm.guest.switch_off(vm, last),
        **vm.check(),
    }


def kill_owners(vm, moments, options):
    waiting_on, abandoned, taken_over, on_its_way = 0, 0, 0, 0
    owner, client, answers = None, None, 0
    for moment in moments:
        if owner is None:
            owner = vm.run()
            client = client_of(vm)
        copy = vm.waits()
        before = begin(vm, owner, copy)
        moments.wait(owner, before, moment)
        owner.kill()
        phase = moments.phase(owner, before)
        moments.learn(owner, before)
        epoch = max(vm.records())
        what = becomes(copy, epoch)
        if what == "live":
            # It was the backup when its owner died, whatever the owner had come to tell of that.
            moments.count_hit("protected")
            taken_over += 1
            client.goes_on()
            owner = copy
            continue
        if phase == "protected":
            # The entry that makes the copy a member was written, and had not arrived (docs/protocol.md).
            phase = "arming"
            on_its_way += 1
        client.abandon()
        answers += len(client.answers)
        moments.count_hit(phase)
        abandoned += what == "ended"
        waiting_on += what == "waits"
        copy.kill()
        if vm.statuses():
            raise Failed(f"somebody says that the VM still runs: {vm.statuses()}")
        vm.tell("release", NAME, "--epoch", epoch, "--arbiter", vm.arbiter, "--yes")
        owner = None
        progress(options, moments, "owner")
    return {
        **moments.result(),
        "answers": answers,
        "apprentices_ended": abandoned,
        "apprentices_waiting_on": waiting_on,
        "backups_live": taken_over,
        "died_before_the_entry_arrived": on_its_way,
        **vm.check(),
    }


def becomes(copy, epoch):
    """What becomes of the process whose owner has died in that epoch: `live` if it was the backup, else
    `ended` or `waits`; and it must have said what has happened, unless it knew of no owner."""
    deadline = time.monotonic() + PATIENCE_S
    quiet = time.monotonic() + SILENCE_S
    while time.monotonic() < deadline:
        if copy.events("go-live"):
            if not copy.has_been("backup"):
                raise Failed(f"{copy.name} has gone live and was no backup: {copy.said()}")
            return "live"
        if copy.child.poll() is not None:
            check_end(copy)
            return "ended"
        is_called = "paired with" in copy.said() or copy.events("role")
        if not is_called and time.monotonic() > quiet:
            return "waits"
        time.sleep(0.005)
    raise Failed(f"{copy.name} neither ends nor goes live after the death of its owner: {copy.said()}")


def check_end(copy):
    """An apprentice without an owner has failed, and says so."""
    last = sentences(copy.said())[-1:]
    told = bool(last) and ("has not become the backup" in last[0] or "waiting for" not in last[0])
    if copy.child.returncode != 1 or not told or copy.live():
        raise Failed(f"{copy.name} ends with {copy.child.returncode} and says: {copy.said()}")
    ends = copy.events("halt")
    if copy.events("role") and [one["code"] for one in ends] != ["abandoned"]:
        raise Failed(f"{copy.name} was an apprentice and ends with {ends}")


def progress(options, moments, victim):
    done = sum(moments.hit.values())
    if done and done % 10 == 0:
        hit, late = dict(moments.hit), dict(moments.late)
        options.tell(f"{victim}: {done} of {moments.count} moments, {hit}, over before: {late}")
