"""Scenarios of `cluster.py` in which a host is emptied while clients work, and in which a backup is given up
whose host stands still."""

import signal
import time

from lib.report import Scenarios, ensure
from lib.site import TIMEOUT_MS, VM, Site

SCENARIOS = Scenarios()
VMS = (VM, "ldap", "mail", "wiki")
# The longest time without an answer that a client may see of a drain. In a bridge a frame that comes for the
# guest while it stands is lost, and the client's TCP sends it again after 200 ms at the earliest (the gateway
# does so at once).
GAP_S, AGAIN_S = 0.100, 0.250
# How long the clients are watched before the drain, to know their gaps without one.
BEFORE_S = 15
# Each change of a pair's membership may take so many timeouts of the pair.
TIMEOUTS = 2


def drained(turn, behind, longest_s):
    """The frame of these scenarios; the figures."""
    with Site(turn.program, vms=VMS, behind=behind, keep=turn.keep) as site, turn.noise() as noise:
        ledgers = {vm: site.shop("a", vm) for vm in VMS}
        before = time.monotonic()
        time.sleep(BEFORE_S)
        begin = time.monotonic()
        site.places["b"].tell("drain", "a", seconds=300)
        end = time.monotonic()
        time.sleep(1)
        gaps, told = [], []
        for vm, ledger in ledgers.items():
            site.protected_again("after the drain", vm=vm)
            sides = site.sides(vm)
            ensure(site.places["a"] not in [*sides.live, *sides.backups], f"host a still holds {vm}")
            gaps.append(ledger.pause_around(begin, end))
            # Where it was longest may be the hand-over, or the copying before and after it.
            pauses = [ledger.pause_around(stop, live + 1) for stop, live in site.hand_overs(vm)]
            there = ", ".join(f"{pause * 1e3:.0f} in its hand-over" for pause in pauses)
            usual = f"{ledger.pause_around(before, begin) * 1e3:.0f} before"
            told.append(f"{vm} {gaps[-1] * 1e3:.0f} ms ({there or 'not handed over'}, {usual})")
        figures = f"drained in {end - begin:.1f} s, longest gaps: {', '.join(told)}"
        for vm, ledger in ledgers.items():
            site.goes_on(ledger, "after the drain")
            site.holds(ledger, "after the drain", vm)
        ensure(max(gaps) <= longest_s + noise.allowed(begin, end), figures)
        return figures


@SCENARIOS.add(
    "drain",
    "A host with four VMs behind a gateway is emptied under load: all protected, no gap over 100 ms",
)
def drain(turn):
    return drained(turn, "gateway", GAP_S)


@SCENARIOS.add(
    "drain-bridge",
    "The same with taps in bridges: no gap longer than the 250 ms that a client's TCP may wait",
)
def drain_bridge(turn):
    return drained(turn, "bridge", AGAIN_S)


def protected(site):
    """It has a backup, whose host stands still then."""
    site.protected_again("before `unprotect`")
    return [site.backup()]


def starting(site):
    """A process is on its way to be the backup, and its host stands still."""
    site.protected_again("before `unprotect`")
    site.owner().tell("unprotect", VM, "--yes")
    site.owner().tell("protect", VM, "--no-wait")
    coming = []
    is_coming = lambda: coming.extend(site.coming()) or coming  # noqa: E731
    site.until(is_coming, 20, "nobody is on its way to be the backup after `protect`")
    return coming[:1]


def without_hosts(site):
    """It has no backup, since both other hosts stand still."""
    site.protected_again("before `unprotect`")
    others = [place for place in site.places.values() if place is not site.owner()]
    for place in others:
        place.signal(signal.SIGSTOP)
    # The others cannot be asked, so the live side itself must say it.
    is_noticed = lambda: site.sides().word == "needs-backup"  # noqa: E731
    site.until(is_noticed, 20, "the VM does not notice that all other hosts stand still")
    return others


def suspended(site):
    """Its protection is suspended, and the host of its last backup stands still."""
    site.protected_again("before `unprotect`")
    backup = site.backup()
    site.owner().tell("protection", "suspend", VM)
    return [backup]


def unprotected(site):
    """It has no backup already, by an `unprotect` before."""
    site.owner().tell("unprotect", VM, "--yes")
    return [site.spare()]


def has_no_backup(site, owner):
    """The other side stands still and cannot be asked. So the live side itself must say that it has no backup
    and none on its way, and its agent that nobody wants one. A process that had none before `unprotect` goes
    on saying why it had none."""
    sides = site.sides()
    is_alone = sides.live == [owner] and sides.word in ("unprotected", "needs-backup")
    ensure(is_alone, f"after `unprotect` the live side says `{sides.word}` ({site.story()})")
    words = [vm["protection"]["state"] for vm in owner.objects("status", VM)]
    ensure(words == ["unprotected"], f"after `unprotect` the owner's agent says {words} ({site.story()})")


STATES = (protected, starting, without_hosts, suspended, unprotected)


@SCENARIOS.add(
    "unprotect-stopped",
    "`unprotect` in every state while the other side's host stands still: it ends within two timeouts",
)
def unprotect_stopped(turn):
    with Site(turn.program, keep=turn.keep) as site, turn.noise() as noise:
        ledger, told, late = site.shop(), [], []
        for state in STATES:
            places = state(site)
            owner = site.owner()
            for place in places:
                place.signal(signal.SIGSTOP)
            begin = time.monotonic()
            owner.tell("unprotect", VM, "--yes")
            took = time.monotonic() - begin
            late.append(took > TIMEOUTS * TIMEOUT_MS / 1e3 + noise.allowed(begin, begin + took))
            told.append(f"{state.__name__} {took:.2f} s")
            has_no_backup(site, owner)
            site.goes_on(ledger, f"after `unprotect` in the state {state.__name__}")
            for place in places:
                place.signal(signal.SIGCONT)
            # A process that was excluded while it stood still reads that, and ends.
            site.until(lambda: not site.sides().backups, 20, "a backup that was dismissed does not end")
            # The next state is the one that this one leaves.
            if state is not suspended:
                owner.tell("protect", VM)
        figures = ", ".join(told)
        ensure(not any(late), f"longer than {TIMEOUTS} timeouts of {TIMEOUT_MS} ms: {figures}")
        return f"{figures}, " + site.holds(ledger, "in the end")
