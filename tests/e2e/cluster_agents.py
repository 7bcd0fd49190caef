"""Scenarios of `cluster.py` in which agents die: in the middle of what they were asked for, and all at once.
A VM must never notice, and whoever starts an agent again needs to say nothing to it."""

import time

from lib.report import Scenarios, ensure
from lib.site import VM, Site

SCENARIOS = Scenarios()
# Each verb that changes something: its words, and what undoes it.
VERBS = {
    "failover": (["failover", VM], []),
    "move": (["move", VM, "--to", "{spare}"], []),
    "move-backup": (["move-backup", VM, "--to", "{spare}"], []),
    "unprotect": (["unprotect", VM, "--yes"], ["protect", VM]),
    "suspend": (["protection", "suspend", VM], ["protection", "resume", VM]),
    "drain": (["drain", "{owner}"], ["undrain", "{owner}"]),
}
KILLS_OF_A_VERB = 2
OPERATION_S = 90


def restart(places, site):
    """Their agents die and are started again at once."""
    for place in places:
        place.kill_agent()
    for place in places:
        place.start_agent()
    site.until(lambda: site.hosts_ready() == 3, 30, "after a new start the agents do not see each other")


def settled(site, verb):
    """Waits until nothing that was begun goes on: it is done, or has failed with a reason."""

    site.until(site.is_idle, OPERATION_S, f"what `{verb}` has begun never ends after the death of agents")


def interrupted(turn, site, verb):
    """A verb is given to the owner's agent, which dies with the one of the backup in the middle of it."""
    words, undo = VERBS[verb]
    names = {"spare": site.spare().name, "owner": site.owner().name}
    words, undo = ([word.format(**names) for word in part] for part in (words, undo))
    asked, victims = site.owner(), [site.owner(), site.backup()]
    command = asked.begin(*words)
    time.sleep(turn.random.uniform(0, 1.2))
    restart(victims, site)
    command.kill()
    command.wait()
    settled(site, verb)
    if undo:
        site.an_agent().tell(*undo)


@SCENARIOS.add(
    "agent-killed-in-verb",
    "The agents of owner and backup die in the middle of each verb: it ends, and the VM is protected",
)
def agent_killed_in_verb(turn):
    with Site(turn.program, keep=turn.keep) as site:
        ledger, longest = site.shop(), 0
        for verb in VERBS:
            for _ in range(KILLS_OF_A_VERB):
                interrupted(turn, site, verb)
                longest = max(longest, site.protected_again(f"after agents died in the middle of `{verb}`"))
                site.goes_on(ledger, f"after agents died in the middle of `{verb}`")
        return (
            f"{len(VERBS) * KILLS_OF_A_VERB} times, protected after {longest:.1f} s at most, "
            + site.holds(ledger, "after all verbs")
        )


@SCENARIOS.add(
    "agent-killed-in-start",
    "The agent dies while it starts a VM, and while it stops it: no second process, and the wish is kept",
)
def agent_killed_in_start(turn):
    with Site(turn.program, keep=turn.keep) as site:
        place = site.places["a"]
        place.tell("create", site.settings())
        for ms in (0, 50, 200, 600, 1500):
            command = place.begin("start", VM, "--on", "a", "--no-wait")
            time.sleep(ms / 1000 + turn.random.uniform(0, 0.1))
            restart([place], site)
            command.wait()
            if not site.sides().live:
                # The wish may have died with the agent that was asked; the next one is asked once more.
                place.tell("start", VM, "--no-wait", check=False)
            site.protected_again(f"after the agent died {ms} ms after `start`")
            command = place.begin("stop", VM, "--hard", "--yes")
            time.sleep(ms / 1000)
            restart([place], site)
            command.wait()
            site.an_agent().tell("stop", VM, "--hard", "--yes", check=False)
            is_off = lambda: not any(other.statuses() for other in site.places.values())  # noqa: E731
            site.until(is_off, 30, f"after the agent died {ms} ms after `stop` the VM runs on")
        return f"5 starts and stops, shown by {' '.join(site.witness.hosts())}"


@SCENARIOS.add(
    "all-agents-killed",
    "All agents die while the pair runs, then the owner's host: the backup goes on, new agents protect it",
)
def all_agents_killed(turn):
    with Site(turn.program, keep=turn.keep) as site:
        ledger = site.shop()
        for place in site.places.values():
            place.kill_agent()
        site.goes_on(ledger, "after the death of all agents")
        ensure(site.is_protected(), f"the pair did not outlive its agents ({site.story()})")
        victim, killed = site.owner(), time.monotonic()
        victim.crash()
        site.goes_on(ledger, "after the death of the owner's host, without any agent")
        pause = ledger.pause_around(killed)
        for place in site.places.values():
            if place.is_on:
                place.start_agent()
        return f"client's longest wait {pause:.2f} s, " + site.holds(ledger, "after new agents were started")
