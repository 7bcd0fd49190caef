"""Scenarios of `cluster.py` in which the network between the hosts is cut, flaps, is slow or loses packets.
The guest's own frames to its clients pass: the cuts are between the addresses of the hosts."""

import itertools
import time

from lib.report import Scenarios, ensure
from lib.site import HOSTS, VM, Site

SCENARIOS = Scenarios()
CUT_S, FLAPS = 15, 12


def cut_and_heal(site, ledger, one, other, both_ways):
    """Cuts two hosts from each other for a while; the figures."""
    ways = "both ways" if both_ways else "one way"
    what = f"while host {one} is cut from {other} {ways}"
    begin = site.network.cut(one, other, both_ways=both_ways)
    time.sleep(CUT_S)
    site.goes_on(ledger, what)
    site.network.heal(one, other)
    took = site.protected_again(f"after host {one} was cut from {other} {ways}")
    site.one_live_at_any_time()
    return ledger.pause_around(begin), took


@SCENARIOS.add(
    "cut-host",
    "The pair's hosts are cut from each other, either way and both ways: one goes on, protected on the third",
)
def cut_host(turn):
    with Site(turn.program, keep=turn.keep) as site:
        ledger, pauses, longest = site.shop(), [], 0.0
        for both_ways in (True, False):
            for owner_first in (True, False):
                owner, backup = site.owner().name, site.backup().name
                pair = (owner, backup) if owner_first else (backup, owner)
                pause, took = cut_and_heal(site, ledger, *pair, both_ways)
                pauses.append(f"{pause:.1f}")
                longest = max(longest, took)
        return f"client's longest waits {' '.join(pauses)} s, " + site.holds(ledger, "after all cuts")


@SCENARIOS.add(
    "cut-host-from-all",
    "The owner's host is cut from both others for 20 s: the VM is live once, and protected later",
)
def cut_host_from_all(turn):
    with Site(turn.program, keep=turn.keep) as site:
        ledger = site.shop()
        for side in (site.owner, site.backup):
            place = side()
            begin = site.network.isolate(place.name)
            time.sleep(20)
            site.goes_on(ledger, f"while host {place.name} is cut from the others")
            site.network.join(place.name)
            site.until(lambda: site.hosts_ready() == 3, 30, f"host {place.name} is not heard after its cut")
            site.protected_again(f"after host {place.name} was cut from the others")
            site.one_live_at_any_time()
        return f"client's longest wait {ledger.pause_around(begin):.1f} s, " + site.holds(
            ledger, "after the cuts"
        )


@SCENARIOS.add(
    "cut-agents-only",
    "The agents cannot reach each other though the pair can: nothing changes, and no second VM is started",
)
def cut_agents_only(turn):
    with Site(turn.program, keep=turn.keep) as site:
        ledger, owner = site.shop(), site.owner()
        site.network.rules("add rule bridge lsh forward tcp dport 7701 drop")
        time.sleep(30)
        site.goes_on(ledger, "while the agents do not hear each other")
        ensure(site.is_protected() and site.owner() is owner, f"the pair has changed ({site.story()})")
        site.network.rules(
            "flush chain bridge lsh forward\nadd rule bridge lsh forward ip saddr . ip daddr @cuts drop"
        )
        site.until(lambda: site.hosts_ready() == 3, 30, "the agents do not hear each other after the cut")
        return site.holds(ledger, "after the agents were cut from each other")


@SCENARIOS.add(
    "flapping",
    "The link of the pair comes and goes at random for a minute: one live VM, protected in the end",
)
def flapping(turn):
    with Site(turn.program, keep=turn.keep) as site:
        ledger, begin = site.shop(), time.monotonic()
        for _ in range(FLAPS):
            one, other = turn.random.sample(HOSTS, 2)
            cut_s, both_ways = turn.random.uniform(0.2, 5), turn.random.random() < 0.5
            site.network.cut(one, other, ms=round(cut_s * 1000), both_ways=both_ways)
            time.sleep(cut_s + turn.random.uniform(0.2, 2.5))
        site.network.heal_all()
        pause = ledger.pause_around(begin)
        return f"{FLAPS} cuts, client's longest wait {pause:.1f} s, " + site.holds(ledger, "after flapping")


def lose_everywhere(site):
    """From now on 2 % of the packets between all hosts are lost."""
    for one, other in itertools.combinations(HOSTS, 2):
        site.network.lose(one, other, permille=20)


@SCENARIOS.add(
    "loss",
    "2 % of the packets between all hosts are lost: the VM gets its backup, changes sides and is moved",
)
def loss(turn):
    with Site(turn.program, keep=turn.keep) as site:
        lose_everywhere(site)
        return verbs(site, site.shop())


@SCENARIOS.add(
    "delay", "Each packet of one host takes 20 ms: the VM gets its backup there, changes sides and is moved"
)
def delay(turn):
    with Site(turn.program, far=["b"], keep=turn.keep) as site:
        site.network.delay("b", 20)
        return verbs(site, site.shop())


def verbs(site, ledger):
    """Failover, move and move-backup, each of which must end well; the figures."""
    took = []
    for words in (
        ["failover"],
        ["move", "--to", "{spare}"],
        ["move-backup", "--to", "{spare}"],
        ["failover"],
    ):
        spare = site.spare().name
        begin = time.monotonic()
        verb, *rest = [word.format(spare=spare) for word in words]
        site.owner().tell(verb, VM, *rest)
        took.append(f"{verb} {time.monotonic() - begin:.1f} s")
        site.protected_again(f"after `{verb}`")
        site.goes_on(ledger, f"after `{verb}`")
    return f"{', '.join(took)}, " + site.holds(ledger, "after all verbs")


@SCENARIOS.add(
    "host-dies-with-loss",
    "A host dies while 2 % of the packets between the others are lost: the VM is protected again",
)
def host_dies_with_loss(turn):
    with Site(turn.program, keep=turn.keep) as site:
        ledger = site.shop()
        lose_everywhere(site)
        site.owner().crash()
        return site.holds(ledger, "after a host died with 2 % of the packets lost")
