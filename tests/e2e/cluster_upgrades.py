"""The scenario of `cluster.py` in which a site gets another release of the program, host by host, while a
client works, and goes back; and in which a program of another machine model is refused."""

import json
import subprocess

from lib import builds
from lib.report import Scenarios, ensure
from lib.site import VM, Site

SCENARIOS = Scenarios()


def version_of(program):
    """The version that a program says it has."""
    said = subprocess.run([program, "version", "--json"], check=True, capture_output=True, text=True)
    return json.loads(said.stdout)["version"]


def versions(site):
    """The versions of the programs that the VM's processes run, by host."""
    told = {name: place.statuses() for name, place in site.places.items()}
    return {name: status["version"] for name, statuses in told.items() for status in statuses}


def is_skewed(site):
    """Does the owner's agent say that the two halves are of different builds? None: it does not answer."""
    told = site.owner().heard("status", VM)
    return told and any("skewed" in vm["protection"]["flags"] for vm in told)


def upgraded(site, place, program, ledger):
    """One host gets a program by the documented sequence; was the pair skewed then?"""
    what = f"after host {place.name} got version {version_of(program)}"
    place.install(program)
    site.until(lambda: site.hosts_ready() == 3, 60, f"{what}, the agents do not see each other")
    for verb in ("drain", "undrain"):
        place.tell(verb, place.name)
    site.protected_again(what)
    site.goes_on(ledger, what)
    differ = len(set(versions(site).values())) > 1
    site.until(lambda: is_skewed(site) == differ, 10, f"{what}, the flag `skewed` is not {differ}")
    return differ


def all_upgraded(site, program, ledger):
    """Each host in turn; how often the pair was of two builds."""
    skewed = [upgraded(site, place, program, ledger) for place in site.places.values()]
    expected = {version_of(program)}
    ensure(set(versions(site).values()) == expected, f"not all run {expected}: {versions(site)}")
    ensure(any(skewed), "the pair was never of two builds, so nothing was tried")
    return sum(skewed)


def other_model_is_refused(site, ledger):
    """A host whose program computes another machine is no place for the backup, and the reason says which."""
    place, number = site.spare(), builds.model() + 1
    place.install(builds.other_model())
    site.until(lambda: site.hosts_ready() == 3, 60, "a host of another model is not seen")
    said = site.owner().begin("move-backup", VM, "--to", place.name)
    words, _ = said.communicate(timeout=60)
    is_refused = said.returncode == 4 and f"model {number}," in words
    ensure(is_refused, f"`move-backup` to model {number} ended with {said.returncode}: {words}")
    told = next(seen for seen in site.owner().objects("check", VM) if seen["host"] == place.name)
    codes = [reason["code"] for reason in told["reasons"]]
    ensure(codes == ["host-model"], f"`check` says {codes} of a host of another model")
    site.goes_on(ledger, "after a host of another model was refused")
    place.install(site.program)
    site.until(lambda: site.hosts_ready() == 3, 60, "a host is not seen with its old program")


def divergences(site):
    """What the agents have written down of halves that computed different things."""
    files = [place.state_dir / "events.jsonl" for place in site.places.values()]
    lines = [line for file in files if file.exists() for line in file.read_text().splitlines()]
    return [line for line in lines if "diverge" in line]


@SCENARIOS.add(
    "upgrade",
    "Each host in turn gets the next release and then the old one, under load; another model is refused",
)
def upgrade(turn):
    following = builds.next_release()
    builds.other_model()
    with Site(turn.program, keep=turn.keep) as site:
        ledger = site.shop()
        there = all_upgraded(site, following, ledger)
        back = all_upgraded(site, turn.program, ledger)
        other_model_is_refused(site, ledger)
        ensure(not divergences(site), f"the halves have diverged: {divergences(site)[:2]}")
        gap = ledger.pause_around(ledger.acknowledged[0])
        told = f"{version_of(turn.program)} to {version_of(following)} and back, the pair of two builds "
        told += f"{there} and {back} times, client's longest wait {gap:.2f} s, "
        return told + site.holds(ledger, "after the upgrades")
