#!/usr/bin/env python3
"""A guest lives through failovers, clones that fail and starts that must not be, on one connection of a
client.

    tests/e2e/life.py                      as `chain`, with five failovers of the appliance's Redis
    tests/e2e/life.py chain                kills the primary ten times in a row
    tests/e2e/life.py kill-clone [N]       kills owner or apprentice at N (200) random moments of a clone
    tests/e2e/life.py twice                starts the VM once more, from other hosts, during failovers
    tests/e2e/life.py handover [N]         has the two sides change their roles N (200) times
    tests/e2e/life.py move [N]             replaces the backup N (200) times by one on another host
    tests/e2e/life.py slow                 holds the backup to a fifth of a processor until it is dropped

Needs a release build of lockstep; Debian's postgresql-contrib (pgbench), postgresql-client and e2fsprogs for
the full Debian, which is the guest of all modes that are named (`--guest appliance`: Redis in an initramfs);
and for `twice` util-linux. Hosts are processes on this one. No root, but for `slow`.

Each life of a chain goes like this:

    1. `lockstep backup --listen` waits, as on a fresh host that has nothing of the VM.
    2. `lockstep protect` has the running guest copied there, while the client works without a pause.
    3. The process in which the guest lives is killed (SIGKILL). The copy goes on, and is protected at once.

The client is pgbench with one connection (or a counter in Redis). In the end every transaction that was
committed must be in the history table, the guest must switch itself off, `fsck -fn` find nothing, and nothing
be wrong in the events of all processes and the records of the arbiter (lib/lives.py). The last line is the
summary; with --json all of it is one object, and the exit code 0 only if nothing failed.
"""

import argparse
import contextlib
import json
import pathlib
import shutil
import signal
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from lib import halves, killclone, moves, slow, twice  # noqa: E402
from lib.lives import GUESTS, NAME, Failed, Vm, until  # noqa: E402
from lib.load import client_of  # noqa: E402


def live_once(vm, owner, copy, client):
    """One life: the guest in `owner` is protected by `copy`, and the owner killed; the survivor, instants and
    figures."""
    began = time.time()
    copy = vm.protect(owner, copy)
    client.check()
    protected = time.time()
    told = owner.events("protected")[-1]
    # Without a backup it was from the death of the owner before on; the first one was not to have one yet.
    lone_ns = [event["time_ns"] for event in owner.events("go-live")]
    unprotected_ms = (told["time_ns"] - lone_ns[-1]) / 1e6 if lone_ns else told["took_ms"]
    killed = time.time()
    owner.kill()
    live = until("go-live", lambda: copy.events("go-live"))[-1]
    gone_live = time.time()
    instants = {"began": began, "protected": protected, "killed": killed, "live": gone_live}
    return copy, instants, {
        "unprotected_ms": round(unprotected_ms, 1),
        "clone_ms": round(told["took_ms"], 1),
        "clone_bytes": told["bytes"],
        "clone_cut_us": round(told["cut_us"], 1),
        "go_live_ms": round(live["after_ms"], 1),
    }


def chain(vm, options):
    """Failovers in a row; figures."""
    owner = vm.run()
    client = client_of(vm)
    lives, instants = [], []
    copy = vm.waits()
    for number in range(options.failovers):
        # The next host waits already when this one takes over.
        following = vm.waits() if number + 1 < options.failovers else None
        owner, instant, figures = live_once(vm, owner, copy, client)
        options.tell(f"life {number + 1}: {figures}")
        instants.append(instant)
        lives.append(figures)
        copy = following
    client.goes_on()
    end = time.time()
    seen = client.finish()
    for figures, instant, later in zip(lives, instants, [*instants[1:], {"killed": end}]):
        figures["clone_longest_client_gap_ms"] = client.longest_gap_ms(instant["began"], instant["protected"])
        figures["client_pause_ms"] = client.longest_gap_ms(instant["killed"], instant["live"])
        figures["answers_until_next_kill"] = client.answered(instant["live"], later["killed"])
        if figures["answers_until_next_kill"] == 0:
            raise Failed(f"the client had no answer between two kills: {figures}")
    return {
        "failovers": len(lives),
        "answers": len(client.answers),
        "longest_client_gap_ms": client.longest_gap_ms(0, end),
        "seen": seen,
        "lives": lives,
        "end": vm.guest.switch_off(vm, owner),
        **vm.check(),
    }


def hand_over(vm, options):
    """Planned failovers back and forth, without a clone between two of them; figures."""
    owner = vm.run()
    client = client_of(vm)
    copy = vm.protect(owner, vm.waits())
    client.check()
    lives, pauses = [], []
    for _ in range(options.moments):
        began = time.time()
        vm.tell("failover", NAME)
        until("both know their roles", lambda: protected_sides(vm) == ["backup", "primary"])
        pauses.append((began, time.time()))
        owner, copy = copy, owner
        client.check()
    # A member of each epoch is there all the time: the last one takes over.
    owner.kill()
    until("go-live", lambda: copy.events("go-live"))
    client.goes_on()
    seen = client.finish()
    for begin, end in pauses:
        lives.append({"client_pause_ms": client.longest_gap_ms(begin, end)})
    ordered = sorted(life["client_pause_ms"] for life in lives)
    return {
        "hand_overs": len(lives),
        "p50_ms": ordered[len(ordered) // 2],
        "p99_ms": ordered[len(ordered) * 99 // 100],
        "answers": len(client.answers),
        "seen": seen,
        "lives": lives,
        "end": vm.guest.switch_off(vm, copy),
        **vm.check(),
    }


def protected_sides(vm):
    """The roles of the processes that say that the VM is protected."""
    told = [status for status in vm.statuses() if status["protection"]["state"] == "protected"]
    return sorted(status["role"] for status in told)


def summary(result):
    """The figures of a chain in a few lines, for people."""
    lines = [f"{'':<30} {'least':>10} {'median':>10} {'most':>10}"]
    for word in (result["lives"] or [{}])[0]:
        values = sorted(life[word] for life in result["lives"])
        lines.append(f"{word:<30} {values[0]:>10} {values[len(values) // 2]:>10} {values[-1]:>10}")
    return "\n".join(lines)


def play(mode, options):
    """A mode's run in a directory of its own; its result, or `Failed` with what all processes said."""
    with contextlib.ExitStack() as stack:
        directory = pathlib.Path(tempfile.mkdtemp(prefix="lockstep-life-"))
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        if options.keep:
            stack.callback(shutil.copytree, directory, options.keep, dirs_exist_ok=True, ignore=large)
        vms = []

        def make(guest):
            place = directory / f"{guest}{len(vms)}"
            place.mkdir()
            vms.append(Vm(stack, place, guest, options.timeout_ms))
            return vms[-1]

        try:
            return mode(make, options)
        except Failed as error:
            raise Failed(f"{error}\n{vms[-1].story() if vms else ''}") from None


def large(folder, names):
    """What is not worth keeping of a run, sockets among it."""
    kept = (".events", ".stderr", ".claim", ".end", "errors", "output")
    return [name for name in names if not name.endswith(kept) and not pathlib.Path(folder, name).is_dir()]


MODES = {
    "chain": lambda make, options: chain(make(options.guest), options),
    "kill-clone": killclone.play,
    "twice": twice.play,
    "handover": lambda make, options: hand_over(make(options.guest), options),
    "move": lambda make, options: moves.play(make(options.guest), options),
    "slow": slow.play,
}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("mode", nargs="?", choices=MODES)
    counted = "of `kill-clone`, `handover` and `move`"
    parser.add_argument("moments", nargs="?", type=int, default=200, metavar="N", help=counted)
    parser.add_argument("--failovers", type=int, help="of `chain` (10; 5 without a mode) and of `twice` (5)")
    parser.add_argument("--guest", choices=GUESTS, help="debian, or appliance without a mode")
    parser.add_argument("--seed", type=int, help="of `kill-clone`; default: drawn, and told")
    parser.add_argument("--victim", choices=["owner", "apprentice"], help="of `kill-clone`: who dies")
    parser.add_argument("--timeout-ms", type=int, default=500, help="of failure detection; default: 500")
    parser.add_argument("--keep", type=pathlib.Path, help="keep events, words and records in this directory")
    parser.add_argument("--lockstep", type=pathlib.Path, help="the program to test")
    parser.add_argument("--json", action="store_true", help="print the result as one line of JSON")
    options = parser.parse_args()
    if options.failovers is None:
        options.failovers = 10 if options.mode == "chain" else 5
    if options.guest is None and options.mode in (None, "chain", "handover", "move"):
        options.guest = "debian" if options.mode else "appliance"
    told = sys.stderr if options.json else sys.stdout
    options.tell = lambda line: print(line, file=told, flush=True)
    return options


def main():
    options = arguments()
    halves.use(options.lockstep)
    # Whoever ends this program ends all that it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    begin = time.monotonic()
    try:
        result = play(MODES[options.mode or "chain"], options)
    except Failed as error:
        sys.exit(f"FAILED: {error}")
    result["seconds"] = round(time.monotonic() - begin, 1)
    if options.json:
        print(json.dumps(result))
        return
    if "lives" in result:
        print(summary(result))
    short = {word: value for word, value in result.items() if word != "lives"}
    print(f"PASSED: {json.dumps(short, indent=1)}")


if __name__ == "__main__":
    main()
