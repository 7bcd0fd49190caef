"""Scenarios of networks as they are: cut, slow, lossy, one-sided; and of hosts that are busy.

Each is played by `hostile.py`. A pair may fail over once where the network is the reason, must not where a
fault is shorter than the timeout, and must lose nothing in either case.
"""

import socket
import statistics
import time

from lib.pair import Failed
from lib.report import Scenarios, ensure
from lib.scene import client_of, goes_on, served, stays_a_pair, taken_over_once

SCENARIOS = Scenarios()
# What a failover may take beyond the timeout.
BEYOND_TIMEOUT_S = 0.05


def in_time(pair, ledger, noise, begin, what):
    """The client was served again within the timeout and a little; how long it took, in words."""
    back = ledger.back_after(begin)
    limit = pair.timeout_ms / 1000 + BEYOND_TIMEOUT_S
    words = f"{back * 1000:.0f} ms"
    ensure(
        back <= limit + noise.allowed(begin, begin + back),
        f"{what}, the client was served again only after {words}; "
        f"the backup was live after {pair.live_after(begin)}",
    )
    return words


@SCENARIOS.add(
    "isolated-primary",
    "When the primary's host loses its network but not the arbiter, the backup wins",
    runs=20,
)
def isolated_primary(turn):
    with served(turn) as (pair, ledger):
        begin = pair.network.isolate("a")
        taken_over_once(pair, ledger, "after the primary's host lost its network")
        # What it hears when it is back must not wake it up.
        pair.network.join("a")
        time.sleep(0.5)
        ensure(pair.primary.role() in ("halted", "claiming"), f"the loser did not stop: {pair.story()}")
        return f"the client was served again after {ledger.back_after(begin) * 1000:.0f} ms"


@SCENARIOS.add(
    "unplugged-primary", "The same when its cable is pulled, so that its card loses the carrier", runs=5
)
def unplugged_primary(turn):
    with served(turn) as (pair, ledger):
        pair.host("a").unplug()
        begin = time.monotonic()
        taken_over_once(pair, ledger, "after the cable of the primary's host was pulled")
        return f"the client was served again after {ledger.back_after(begin) * 1000:.0f} ms"


@SCENARIOS.add(
    "isolated-backup",
    "When the backup's host loses its network but not the arbiter, the primary goes on",
    runs=5,
)
def isolated_backup(turn):
    with served(turn) as (pair, ledger):
        begin = pair.network.isolate("b")
        goes_on(ledger, "after the backup's host lost its network")
        pause = ledger.back_after(begin)
        ensure(pair.wait_for_role(pair.primary, "solo", 5), f"the primary was to win: {pair.story()}")
        return f"the client was served again after {pause * 1000:.0f} ms"


@SCENARIOS.add(
    "cut-gateway", "A cut between the primary and its gateway is noticed and said, and clients go on after it"
)
def cut_gateway(turn):
    with served(turn) as (pair, ledger):
        said = len(pair.primary.said())
        begin = pair.network.cut("a", "gateway")
        noticed = pair.primary.wait_for_word("gateway", 20, after=said)
        after = time.monotonic() - begin
        pair.network.heal("a", "gateway")
        goes_on(ledger, "after the cut between primary and gateway was healed", seconds=15)
        lives = [half for half in (pair.primary, pair.backup) if half.role() in ("primary", "solo")]
        ensure(len(lives) == 1, f"{len(lives)} sides are live: {pair.story()}")
        ensure(
            noticed,
            "20 s after the cut nobody had said a word of the gateway; "
            f"the primary: {pair.primary.last_words()}",
        )
        return f"said after {after:.1f} s: {pair.primary.said()[said:].splitlines()[0]}; {pair.story()}"


@SCENARIOS.add(
    "gateway-outage",
    "After 2 s in which nobody reached the gateway, clients are served again within the timeout",
    runs=5,
)
def gateway_outage(turn):
    with served(turn) as (pair, ledger), turn.noise() as noise:
        healed = max(pair.network.cut(half, "gateway", ms=2000) for half in ("a", "b")) + 2
        time.sleep(max(0.0, healed - time.monotonic()))
        goes_on(ledger, "after an outage of the gateway's network")
        words = in_time(pair, ledger, noise, healed, "after an outage of the gateway's network")
        return f"{words}; {pair.story()}"


def give_console(pair):
    """Puts the primary's console on a socket, before it is started."""
    pair.flags["primary"]["--serial"] = f"unix:{pair.directory / 'console'}"


def compute(pair):
    """Makes the guest busy, by its console."""
    with socket.socket(socket.AF_UNIX) as console:
        console.connect(str(pair.directory / "console"))
        console.sendall(b"\nwhile :; do :; done &\n")
        time.sleep(2)


# A message at least every 7.5 s: what stands still must not be saved by the next one.
SLOW_TIMEOUT_MS = 30_000
# The backup was held up for 2 s, of which the guest ran the first, and that second it must replay.
CAUGHT_UP_S = 6


@SCENARIOS.add(
    "many-messages",
    "A backup that was held up for 2 s, and finds hundreds of messages in one read, catches up, and the "
    "guest goes on",
    runs=5,
)
def many_messages(turn):
    options = {"timeout_ms": SLOW_TIMEOUT_MS, "append": "lockstep.shell"}
    with served(turn, give_console, **options) as (pair, ledger), turn.noise() as noise:
        # The log of a guest that computes is a message every millisecond.
        compute(pair)
        worst = 0.0
        for number in range(3):
            goes_on(ledger, "before the backup was held up")
            pair.stop_for(pair.backup, 2)
            begin = time.monotonic()
            goes_on(ledger, f"after the backup was held up for 2 s ({number + 1})", writes=50, seconds=60)
            pause = time.monotonic() - begin
            stays_a_pair(
                pair, f"held up for 2 s, the backup was dropped, and the client waited {pause:.1f} s"
            )
            limit = CAUGHT_UP_S + noise.allowed(begin, begin + pause)
            ensure(
                pause < limit,
                f"after the backup was held up for 2 s, the guest stood for another {pause:.1f} s",
            )
            worst = max(worst, pause)
        return f"on again within {worst:.2f} s"


def speed(half, seconds):
    """Steps a second of the guest, by the figures of the next `seconds`."""
    begin = next_figures(half)
    time.sleep(seconds)
    end = next_figures(half)
    return (end["step"] - begin["step"]) / (end["time_ns"] - begin["time_ns"]) * 1e9


def next_figures(half):
    """Figures that are newer than those it has told so far."""
    since = half.figures()
    deadline = time.monotonic() + 10
    while (now := half.figures()) == since:
        if time.monotonic() > deadline or half.ended() is not None:
            raise Failed(f"the {half.name} tells no figures any more: {half.last_words()}")
        time.sleep(0.05)
    return now


ROUND_TRIPS_MS = [1, 20, 80]
FULL_SPEED = 0.95


@SCENARIOS.add(
    "round-trips",
    "A guest that computes does so at full speed with 1, 20 and 80 ms between the hosts, and its backup "
    "is not dropped",
)
def round_trips(turn):
    options = {"writes": 20, "every_s": 0.05, "far": ["b"], "append": "lockstep.shell"}
    with served(turn, give_console, **options) as (pair, _):
        compute(pair)
        seen, slow = [], []
        for round_trip in ROUND_TRIPS_MS:
            # A machine is not equally fast all the time: near and far take turns.
            speeds, paces = {0: [], round_trip: []}, {0: [], round_trip: []}
            for at in [0, round_trip] * 3:
                pair.network.delay("b", at / 2)
                time.sleep(1)
                since = time.monotonic()
                speeds[at].append(speed(pair.primary, 4))
                paces[at] += pair.paces(since)
                stays_a_pair(pair, f"with {round_trip} ms of round trip")
            ratio = statistics.median(speeds[round_trip]) / statistics.median(speeds[0])
            # The pace tells what the primary makes of it: below its near value, distance counts as lag.
            near, far = (statistics.mean(paces[at]) for at in (0, round_trip))
            seen.append(f"{round_trip} ms: {ratio:.3f} (pace {far:.0f} permille, near {near:.0f})")
            if ratio < FULL_SPEED:
                slow.append(round_trip)
        pair.network.delay("b", ROUND_TRIPS_MS[-1] / 2)
        end = time.monotonic() + min(60, turn.minutes * 60)
        while time.monotonic() < end:
            stays_a_pair(pair, f"after a while with {ROUND_TRIPS_MS[-1]} ms of round trip")
            time.sleep(0.5)
        words = "speed by round trip: " + ", ".join(seen)
        ensure(not slow, words)
        return words


@SCENARIOS.add(
    "short-outages",
    "Outages of the pair's link of 250, 300 and 350 ms fail nothing over at the default timeout",
    runs=20,
)
def short_outages(turn):
    pair = turn.pair_of_all_runs()
    with client_of(pair) as ledger:
        for ms in (250, 300, 350):
            pair.network.cut("a", "b", ms=ms)
            time.sleep(ms / 1000 + 1.2)
            if not pair.protected():
                ledger.abandon()
            stays_a_pair(pair, f"after an outage of {ms} ms")
            goes_on(ledger, f"after an outage of {ms} ms")
            time.sleep(turn.random.uniform(0, 0.3))


@SCENARIOS.add(
    "long-outage",
    "An outage of 2 s of the primary's host is one failover, and the client is served within the timeout",
    runs=20,
)
def long_outage(turn):
    with served(turn) as (pair, ledger), turn.noise() as noise:
        time.sleep(turn.random.uniform(0, 0.3))
        begin = pair.network.isolate("a", ms=2000)
        goes_on(ledger, "during the outage of the primary's host")
        time.sleep(max(0.0, begin + 3 - time.monotonic()))
        taken_over_once(pair, ledger, "after an outage of 2 s of the primary's host")
        return in_time(
            pair, ledger, noise, begin, "from the beginning of an outage of 2 s of the primary's host"
        )


def watch(turn, pair, ledger, what):
    """The pair stays one for so many minutes, and its client is served."""
    begin = time.monotonic()
    end = begin + turn.minutes * 60
    while time.monotonic() < end:
        time.sleep(0.2)
        if not pair.protected():
            ledger.abandon()
            raise Failed(f"{what} it failed over after {time.monotonic() - begin:.0f} s: {pair.story()}")
    goes_on(ledger, what)
    pause = ledger.pause_around(begin)
    return f"{turn.minutes:g} minutes, the client's longest wait {pause * 1000:.0f} ms"


@SCENARIOS.add(
    "loss",
    "With 5 % of the packets between the hosts lost, nothing fails over in ten minutes (see --minutes)",
)
def loss(turn):
    with served(turn) as (pair, ledger):
        pair.network.lose("a", "b", permille=50)
        return watch(turn, pair, ledger, "with 5 % of the packets lost")


@SCENARIOS.add(
    "busy-host",
    "With four processes that spin on this machine, nothing fails over in ten minutes (see --minutes)",
)
def busy_host(turn):
    with served(turn) as (pair, ledger):
        for _ in range(4):
            pair.host("client").start(["sh", "-c", "while :; do :; done"])
        return watch(turn, pair, ledger, "with four spinning processes")
