"""Scenarios of `cluster.py` in which what the hosts share is away: the directory or etcd, and the arbiter. A
pair needs none of them as long as both sides are well, and an agent goes on with what it knows."""

import time

from lib.report import Scenarios, ensure
from lib.site import VM, Site

SCENARIOS = Scenarios()


@SCENARIOS.add(
    "storage-gone", "The shared storage is gone from all hosts for a minute: the pair runs on, and says so"
)
def storage_gone(turn):
    with Site(turn.program, keep=turn.keep) as site:
        ledger, places = site.shop(), list(site.places.values())
        for place in places:
            place.lose_storage()
        time.sleep(60)
        site.goes_on(ledger, "without the shared storage")
        ensure(site.is_protected(), f"without the shared storage the pair has ended ({site.story()})")
        told = places[0].objects("status", VM)
        ensure(told, "without the shared storage the agent does not answer `status`")
        for place in places:
            place.regain_storage()
        victim = site.owner()
        victim.crash()
        return site.holds(ledger, "after the storage is back and the owner's host died")


@SCENARIOS.add(
    "storage-gone-at-death",
    "The owner's host dies while the storage is gone from all hosts: the VM goes on when the storage is back",
)
def storage_gone_at_death(turn):
    with Site(turn.program, keep=turn.keep) as site:
        ledger, victim = site.shop(), site.owner()
        rest = [place for place in site.places.values() if place is not victim]
        for place in rest:
            place.lose_storage()
        victim.crash()
        time.sleep(10)
        for place in rest:
            place.regain_storage()
        back = time.monotonic()
        site.goes_on(ledger, "after the storage is back")
        return f"answers {time.monotonic() - back:.1f} s after the storage is back, " + site.holds(
            ledger, "after the storage is back"
        )


@SCENARIOS.add(
    "storage-gone-from-one",
    "The storage is gone from the owner's host, then from the backup's, and read-only: nothing is lost",
)
def storage_gone_from_one(turn):
    with Site(turn.program, keep=turn.keep) as site:
        ledger = site.shop()
        for how in ("gone", "read-only"):
            for side in (site.owner, site.backup):
                site.protected_again("before the storage is lost")
                place = side()
                place.lose_storage(how)
                time.sleep(20)
                site.goes_on(ledger, f"with the storage {how} on host {place.name}")
                place.regain_storage()
                site.protected_again(f"after the storage was {how} on host {place.name}")
        return site.holds(ledger, "after the storage is back everywhere")


@SCENARIOS.add(
    "storage-silent",
    "The file server is silent for all hosts, and the owner's host dies: agents answer, the VM goes on later",
)
def storage_silent(turn):
    with Site(turn.program, served=True, keep=turn.keep) as site:
        ledger, places = site.shop(), list(site.places.values())
        for place in places:
            place.lose_storage("silent")
        time.sleep(30)
        site.goes_on(ledger, "while the file server is silent")
        ensure(site.is_protected(), f"a silent file server has ended the pair ({site.story()})")
        for place in places:
            told = place.site_seen()
            ensure(told, f"while the file server is silent, the agent of {place.name} does not answer")
            ensure(
                told["directory_away"], f"the agent of {place.name} does not say that the directory is away"
            )
        victim = site.owner()
        victim.crash()
        time.sleep(10)
        for place in places:
            place.regain_storage()
        return site.holds(ledger, "after the file server speaks again")


@SCENARIOS.add(
    "etcd-stopped",
    "etcd is stopped for a minute (--minutes), in which the owner's host dies: the VM is protected again",
)
def etcd_stopped(turn):
    with Site(turn.program, store="etcd", keep=turn.keep) as site:
        ledger = site.shop()
        site.stop_etcd()
        half = turn.minutes * 30
        time.sleep(half)
        ensure(site.is_protected(), f"without etcd the pair has ended ({site.story()})")
        victim = site.owner()
        victim.crash()
        took = site.protected_again("after the owner's host died without etcd")
        victim.boot()
        time.sleep(half)
        refused = site.an_agent().tell("failover", VM, check=False)
        site.start_etcd()
        site.until(
            lambda: site.hosts_ready() == 3, 60, "after etcd is back, the agents do not see each other"
        )
        before = site.owner()
        site.an_agent().tell("failover", VM)
        ensure(site.owner() is not before, f"`failover` after etcd is back has done nothing ({refused})")
        return f"protected after {took:.1f} s without etcd, " + site.holds(ledger, "after etcd is back")


@SCENARIOS.add(
    "etcd-cut",
    "The owner's host is cut from etcd, one way and both ways: the pair stays, and can change sides later",
)
def etcd_cut(turn):
    with Site(turn.program, store="etcd", keep=turn.keep) as site:
        ledger = site.shop()
        for both_ways in (False, True):
            owner = site.owner()
            site.network.cut(owner.name, "etcd", both_ways=both_ways)
            time.sleep(25)
            site.goes_on(ledger, f"while host {owner.name} is cut from etcd")
            ensure(site.is_protected(), f"a cut from etcd has ended the pair ({site.story()})")
            ensure(owner.name in away(site), f"host {owner.name} is cut from etcd, and does not say so")
            site.network.heal(owner.name, "etcd")
            site.until(
                lambda: not away(site), 40, "after the cut from etcd is healed, an agent cannot read it"
            )
            site.an_agent().tell("failover", VM)
            site.protected_again("after a failover")
        return site.holds(ledger, "after the cuts from etcd")


def away(site):
    """The agents that cannot read what people want."""
    told = {place.name: place.site_seen() for place in site.places.values() if place.agent}
    return [name for name, seen in told.items() if seen.get("directory_away", "no answer")]
