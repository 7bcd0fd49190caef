"""Scenarios of `cluster.py` in which agents die at the very moment at which somebody has asked for something:
what was asked for is done once, or was never taken, and asking again is all that anybody must do."""

import re
import time

from lib.report import Scenarios, ensure
from lib.site import VM, Site

SCENARIOS = Scenarios()
# From the sending of a request to the death of the agents.
MOMENTS_S = (0.0, 0.1, 0.3, 0.6, 1.0, 1.5)
DONE_S = 60
# What is not done for so long after all agents have said that nothing is under way, is not done any more.
SETTLED_S = 3


class Wish:
    """Something that is asked for: its words, what makes it possible, and how often it was done."""

    words = ()

    def __init__(self, site):
        self.site = site

    def prepare(self):
        """Makes it something that is to be done."""

    def done(self):
        """How often it was done."""
        raise NotImplementedError

    def is_over(self):
        """Is nothing of it under way?"""
        return self.site.is_idle()


def written(site, key):
    """What each state of a key of the site's directory is, in their order: `value` or `removed`. The
    directory keeps each state as a file (docs/decisions/0108), so a wish that is carried out twice is seen
    twice, also where the second time changes nothing that an agent would tell."""
    files = sorted((site.storage / "directory").glob(f"{key.replace('/', ',')}.{'[0-9]' * 20}"))
    return [re.search(rb"^kind (\w+)$", file.read_bytes(), re.MULTILINE)[1].decode() for file in files]


class Create(Wish):
    """A second VM is one of the site's."""

    name, kind = "extra", "value"

    def __init__(self, site):
        super().__init__(site)
        self.words = ["create", site.settings(self.name)]

    def prepare(self):
        if self.is_there():
            self.site.an_agent().tell("delete", self.name, "--yes")
        self.before = self.times()

    def is_there(self):
        """Is it one of the site's VMs, as an agent says?"""
        names = [vm["name"] for vm in self.site.an_agent().objects("status")]
        ensure(VM in names, "a VM is gone that nobody has deleted")
        return self.name in names

    def times(self):
        """How often it was written into the site's directory, or removed from there."""
        return written(self.site, f"vms/{self.name}/spec").count(self.kind)

    def done(self):
        return self.times() - self.before

    def is_over(self):
        # What is in the directory and what the agents say of it must come to be the same.
        is_there = (self.kind == "value") == (self.done() > 0)
        return super().is_over() and self.is_there() == is_there


class Delete(Create):
    """It is none of the site's any more."""

    kind = "removed"

    def __init__(self, site):
        super().__init__(site)
        self.words = ["delete", self.name, "--yes"]

    def prepare(self):
        if not self.is_there():
            self.site.an_agent().tell("create", self.site.settings(self.name))
        self.before = self.times()


class Protect(Wish):
    """The VM has a backup, by one clone."""

    words = ("protect", VM)

    def prepare(self):
        if self.site.sides().backups:
            self.site.protected_again("before it is unprotected")
        self.site.an_agent().tell("unprotect", VM, "--yes")
        self.before = len(self.site.owner().happened(VM, "protected"))

    def done(self):
        return len(self.site.owner().happened(VM, "protected")) - self.before

    def is_over(self):
        wanted = [vm["protection"]["state"] for vm in self.site.an_agent().objects("status", VM)]
        return super().is_over() and wanted in (["protected"], ["unprotected"])


class Reset(Wish):
    """The guest boots anew, once."""

    words = ("reset", VM, "--yes")

    def prepare(self):
        self.site.protected_again("before it is reset")
        self.before = self.resets()

    def resets(self):
        """How often the guest was reset, as its owner has told."""
        return len(self.site.owner().happened(VM, "reset"))

    def done(self):
        return self.resets() - self.before


def interrupted(site, wish, moment):
    """A wish is given to a host, whose agent dies soon after, with the controller's; was it taken?"""
    wish.prepare()
    owner, asked = site.owner(), site.spare()
    command = asked.begin(*wish.words)
    time.sleep(moment)
    for place in (asked, owner):
        place.kill_agent()
    command.kill()
    command.wait()
    for place in (asked, owner):
        place.start_agent()
    site.until(lambda: site.hosts_ready() == 3, 30, "after a new start the agents do not see each other")
    what = f"`{wish.words[0]}`, whose agents died after {moment * 1e3:.0f} ms,"
    site.until(wish.is_over, DONE_S, f"{what} is neither done nor over")
    return settled(wish, what)


def settled(wish, what):
    """How often it was done, once it does not become more often."""
    end, times = time.monotonic() + SETTLED_S, wish.done()
    while time.monotonic() < end and times <= 1:
        time.sleep(0.2)
        times = wish.done()
    ensure(times in (0, 1), f"{what} was done {times} times")
    return times == 1


@SCENARIOS.add(
    "agent-killed-in-wish",
    "Agents die as soon as create, delete, protect or reset was sent: it is done once, or was never taken",
)
def agent_killed_in_wish(turn):
    with Site(turn.program, vms=(VM, Create.name), keep=turn.keep) as site:
        ledger, taken = site.shop(), []
        for kind in (Create, Delete, Protect, Reset):
            wish = kind(site)
            if kind is Reset:
                # What was in the guest's memory ends with it.
                site.goes_on(ledger, "before the first reset")
                writes = site.nothing_lost(ledger)
            took = 0
            for moment in MOMENTS_S:
                if interrupted(site, wish, moment):
                    took += 1
                else:
                    again = site.an_agent().tell(*wish.words)
                    ensure(settled(wish, f"`{wish.words[0]}`, asked again,"), f"it was not done: {again}")
                site.until(lambda: site.sides().live, 20, "the VM is live nowhere")
            taken.append(f"{wish.words[0]} {took}")
        site.protected_again("after all wishes")
        after = site.client("after all wishes")
        told = f"taken of {len(MOMENTS_S)}: {', '.join(taken)}; {writes} writes before the resets, "
        return told + site.holds(after, "after all wishes")
