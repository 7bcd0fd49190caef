"""Scenarios of `cluster.py` in which the guests' network is gone from the owner's host alone: the VM is
handed over to its backup, whose network is well, and does not come back when the fault is over."""

import contextlib
import time

from lib.pings import Calls, Pings
from lib.report import Scenarios, ensure
from lib.site import VM, Site

SCENARIOS = Scenarios()
FAULT_S, AFTER_S = 10, 20
# From the fault to the other side being live, and from the stop of the guest to the next answer.
HANDED_S, PAUSE_S = 3.0, 0.100


@contextlib.contextmanager
def without_tap(site, place):
    """The VM's tap on a host is down."""
    place.tap("down", VM)
    yield
    place.tap("up", VM)


@contextlib.contextmanager
def without_uplink(site, place):
    """The guests' bridge on a host has lost its only cable."""
    place.wire.second_plug("down")
    yield
    place.wire.second_plug("up")


@contextlib.contextmanager
def without_gateway(site, place):
    """A host and the gateway do not reach each other; no card notices."""
    site.network.cut(place.name, "gateway")
    yield
    site.network.heal(place.name, "gateway")


def handed_over(turn, behind, fault):
    """The frame of these scenarios: the fault lasts ten seconds; the figures."""
    with Site(turn.program, behind=behind, keep=turn.keep) as site, contextlib.ExitStack() as stack:
        ledger, owner, backup = site.shop(), site.owner(), site.backup()
        client, (address, port) = site.network.host("client"), site.guests[VM]
        asking = Calls(client, address, port) if behind == "gateway" else Pings(client, address)
        stack.callback(asking.stop)
        site.until(lambda: asking.answered, 10, "the guest does not answer a ping")
        begin = time.monotonic()
        with fault(site, owner):
            what = f"the network of host {owner.name} is gone, and the VM stays"
            site.until(site.hand_overs, FAULT_S, what)
            site.goes_on(ledger, "after the hand-over")
            time.sleep(max(0, begin + FAULT_S - time.monotonic()))
        time.sleep(AFTER_S)
        (stop, end), *others = site.hand_overs()
        ensure(not others, f"the VM went back and forth: {1 + len(others)} hand-overs ({site.story()})")
        ensure(site.owner() is backup, f"the VM is not where its backup was ({site.story()})")
        gap = ledger.pause_around(begin)
        # What client and guest wait for before they send again what was lost is none of the hand-over's.
        pause = next(at for at in list(asking.answered) if at > stop) - stop
        told = f"handed over {end - begin:.2f} s after the fault, pause from its stop {pause * 1e3:.0f} ms, "
        told += f"the client's whole gap {gap:.2f} s"
        ensure(end - begin <= HANDED_S and pause < PAUSE_S, told)
        return f"{told}, " + site.holds(ledger, "after the network of the host is back")


@SCENARIOS.add(
    "nic-tap", "The tap of the owner's host is down for 10 s: the VM is handed over within 3 s, once"
)
def nic_tap(turn):
    return handed_over(turn, "bridge", without_tap)


@SCENARIOS.add(
    "nic-uplink",
    "The guests' bridge of the owner's host loses its cable for 10 s: the VM is handed over within 3 s, once",
)
def nic_uplink(turn):
    return handed_over(turn, "uplink", without_uplink)


@SCENARIOS.add(
    "nic-gateway",
    "The owner's host is cut from the gateway for 10 s: the VM is handed over within 3 s, once",
)
def nic_gateway(turn):
    return handed_over(turn, "gateway", without_gateway)
