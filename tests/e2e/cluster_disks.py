"""Scenarios of `cluster.py` in which the guest has a disk on the shared storage, and its Redis answers when a
write is durable. Who writes to the disk is seen from outside (`lib/guestdisk.py`)."""

import signal
import time

from lib.report import Scenarios
from lib.site import VM, Site

SCENARIOS = Scenarios()
STILL_S, CUT_S = 15, 8


def owner_dies(site):
    """The owner's host loses power, and comes back."""
    place = site.owner()
    place.crash()
    yield f"after the death of host {place.name}"
    place.boot()


def owner_stands_still(site):
    """The owner's host stands still with its writes under way, and goes on later."""
    place = site.owner()
    place.signal(signal.SIGSTOP)
    yield f"while host {place.name} stands still"
    time.sleep(STILL_S)
    place.signal(signal.SIGCONT)


def pair_is_cut(site):
    """The hosts of the pair do not reach each other for a while."""
    one, other = site.owner().name, site.backup().name
    site.network.cut(one, other)
    time.sleep(CUT_S)
    yield f"while host {one} is cut from {other}"
    site.network.heal(one, other)


def sides_change(site):
    """A hand-over, with writes under way."""
    site.owner().tell("failover", VM)
    yield "after a failover"


@SCENARIOS.add(
    "disk",
    "The owner of a VM with a disk dies, stands still, is cut off, hands over: one writer, no write lost",
)
def disk(turn):
    with Site(turn.program, disk=True, keep=turn.keep) as site:
        site.shop().abandon()
        site.disk.sync_each_write()
        ledger = site.client("with a disk")
        for fault in (owner_dies, owner_stands_still, pair_is_cut, sides_change):
            site.protected_again("before a fault")
            site.until(lambda: site.hosts_ready() == 3, 60, "before a fault, a host is not seen")
            steps = fault(site)
            site.goes_on(ledger, what := next(steps))
            next(steps, None)
            site.protected_again(what)
            site.disk.one_writer_at_any_time()
        seen = site.holds(ledger, "after all faults")
        site.an_agent().tell("stop", VM, "--hard", "--yes")
        is_off = lambda: not any(place.statuses() for place in site.places.values())  # noqa: E731
        site.until(is_off, 30, "after `stop` the VM runs on")
        hosts = site.disk.one_writer_at_any_time()
        site.disk.holds_once(ledger)
        return f"{seen}, written by {' '.join(hosts)}, each write there once"
