"""Scenarios of `cluster.py` in which hosts die, stand still and come back."""

import signal
import time

from lib.report import Scenarios, ensure
from lib.site import VM, Site

SCENARIOS = Scenarios()
# `plan` waits two minutes before it boots a VM whose processes have all died.
COLD_S = 120 + 90


@SCENARIOS.add(
    "host-dies", "The owner's host loses power: the VM goes on at once and is protected on the third host"
)
def host_dies(turn):
    with Site(turn.program, keep=turn.keep) as site:
        what = "after the death of the owner's host"
        ledger = site.shop()
        victim, killed = site.owner(), time.monotonic()
        victim.crash()
        site.goes_on(ledger, what)
        pause = ledger.pause_around(killed)
        return f"client's longest wait {pause:.2f} s, " + site.holds(ledger, what)


@SCENARIOS.add(
    "hosts-die-in-turns",
    "One host after the other loses power and comes back, owner's and backup's in turns",
)
def hosts_die_in_turns(turn):
    with Site(turn.program, keep=turn.keep) as site:
        ledger, longest, deaths = site.shop(), 0.0, 6
        for number in range(deaths):
            victim = site.owner() if number % 2 == 0 else site.backup()
            what = f"after the death of host {victim.name}, the {number + 1}th"
            victim.crash()
            site.goes_on(ledger, what)
            longest = max(longest, site.protected_again(what))
            victim.boot()
            site.until(lambda: site.hosts_ready() == 3, 30, f"{what}, it does not come back")
        return f"{deaths} deaths, protected after {longest:.1f} s at most, " + site.holds(
            ledger, "in the end"
        )


@SCENARIOS.add(
    "two-hosts-left", "Two hosts die one after the other; as soon as one of them is back, the VM is protected"
)
def two_hosts_left(turn):
    with Site(turn.program, keep=turn.keep) as site:
        ledger, gone = site.shop(), []
        for _ in range(2):
            site.protected_again("before a host dies")
            gone.append(site.owner())
            gone[-1].crash()
            site.goes_on(ledger, f"after the death of host {gone[-1].name}")
        is_said = lambda: site.sides().word == "needs-backup"  # noqa: E731
        site.until(is_said, 20, "a VM with one host left does not say that it needs a backup")
        gone[0].boot()
        return site.holds(ledger, "after one of two dead hosts is back")


@SCENARIOS.add(
    "old-process-comes-back",
    "The owner's host stands still for 20 s, and goes on after the failover: the old process ends",
)
def old_process_comes_back(turn):
    with Site(turn.program, keep=turn.keep) as site:
        ledger, old = site.shop(), site.owner()
        old.signal(signal.SIGSTOP)
        site.goes_on(ledger, "while the owner's host stands still")
        time.sleep(20)
        old.signal(signal.SIGCONT)
        took = site.until(
            lambda: not any(status["role"] in ("primary", "solo") for status in old.statuses()),
            20,
            "the old process is live once more",
        )
        return f"the old process ended after {took:.1f} s, " + site.holds(
            ledger, "after the old host is back"
        )


@SCENARIOS.add(
    "power-loss",
    "The whole site loses power: the VM is booted once, by its owner's host, and protected, without anybody",
)
def power_loss(turn):
    with Site(turn.program, keep=turn.keep) as site:
        ledger = site.shop()
        for place in site.places.values():
            place.crash()
        ledger.abandon()
        for place in site.places.values():
            place.boot()
        took = site.protected_again("after the site has lost power", COLD_S)
        after = site.client("after the site has lost power")
        return f"protected {took:.0f} s after power came back, " + site.holds(after, "after the cold start")


@SCENARIOS.add(
    "power-loss-one-stays-off",
    "The site loses power and the owner's host stays off: nobody starts the VM until a person releases it",
)
def power_loss_one_stays_off(turn):
    with Site(turn.program, keep=turn.keep) as site:
        ledger, home = site.shop(), site.owner()
        for place in site.places.values():
            place.crash()
        ledger.abandon()
        others = [place for place in site.places.values() if place is not home]
        for place in others:
            place.boot()
        time.sleep(130)
        ensure(not site.sides().live, f"it was started though its owner may live ({site.story()})")
        release(site, others[0])
        took = site.protected_again("after it was released", COLD_S)
        after = site.client("after it was released")
        return f"protected {took:.0f} s after its release, " + site.holds(after, "after the cold start")


def release(site, place):
    """A person says that the VM's last owner is surely off."""
    epoch = max(int(claim.name.split(".")[1]) for claim in (site.storage / "arbiter").glob(f"{VM}.*.claim"))
    where = ["--arbiter", site.shared / "arbiter", "--epoch", epoch]
    place.run([site.program, "release", *where, VM, "--yes"])
