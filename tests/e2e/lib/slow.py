"""`life.py slow`: a backup whose host gives it too little processor time holds the guest up, is dropped while
the guest runs, and another host takes its place.

The backup gets a fifth of a processor, soon after the guest is protected. A procedure in the database
computes without end, so the guest has to run at the backup's speed: pgbench alone waits for its answers most
of the time, and a fifth of a processor is enough for that. A third client asks for a constant at a steady
rate on a connection of its own: the longest time between two of its answers is what the drop costs. In a
guest that is so busy at so low a speed that time is long anyway, and it depends on what else the machine has
to do. So it is told and no limit, beside what is usual in as long a time before; that the guest never stood
is seen by the owner's events.
"""

import contextlib
import os
import pathlib
import re
import statistics
import time

from .halves import machines
from .lives import Failed, boot_ns, until
from .load import client_of

from paced import Paced  # isort: skip

# The rule takes the mean of a minute; half of one more is for a pace that was higher at first.
DROPPED_S = 90
SHARE, PERIOD_US = 0.2, 25_000
# Before whatever else the machine does: a guest that gets half of a processor is not slowed down by a backup
# that gets a fifth of one so much.
NICE = -15
# What such a backup does before it says something again, such as a digest, takes five times as long, and
# more on a machine with other work: it shall be slow, not silent.
TIMEOUT_MS = 2_000
EVERY_S = 0.005
# What counts as the drop, before and after: the arbiter is asked, the guest's pace is its own again.
BEFORE_S, AFTER_S = 0.1, 1.0
FOR_EVER = "do $$ begin loop perform 1; end loop; end $$"
REASON = re.compile(r"the backup \S+ is gone \(it replayed at (\d+) % of the guest's speed for (\d+) s\); .*")


class Held:
    """A process that gets a fifth of a processor.

    It is the kernel's quota (a control group, of version 2 or 1), which takes root, and not SIGSTOP and
    SIGCONT in turns, as cpulimit sends them too: a process that is let run for a fifth of the *time* gets
    next to nothing of it while others want the processor, as they do on a machine that compiles meanwhile. A
    quota is of processor time. Its period is short, since acknowledgements wait for the rest of it, and far
    shorter than the timeout: the backup is slow, and never silent.
    """

    def __init__(self, stack, pid):
        self.pid, name = pid, f"lockstep-slow-{os.getpid()}"
        whole, first = pathlib.Path("/sys/fs/cgroup"), pathlib.Path("/sys/fs/cgroup/cpu")
        quota = int(SHARE * PERIOD_US)
        if (first / "cpu.cfs_quota_us").exists():
            self.above, limits = first, {"cpu.cfs_period_us": PERIOD_US, "cpu.cfs_quota_us": quota}
        else:
            self.above, limits = whole, {"cpu.max": f"{quota} {PERIOD_US}"}
        self.group = self.above / name
        try:
            if self.above == whole:
                (whole / "cgroup.subtree_control").write_text("+cpu")
            self.group.mkdir()
            stack.callback(self.end)
            for file, value in limits.items():
                (self.group / file).write_text(str(value))
            (self.group / "cgroup.procs").write_text(str(pid))
        except OSError as error:
            raise Failed(f"a process cannot be held to a share of a processor (as root?): {error}") from None

    def end(self):
        """The process gets all the time again that there is, if it has not ended."""
        with contextlib.suppress(OSError):
            (self.above / "cgroup.procs").write_text(str(self.pid))
        with contextlib.suppress(OSError):
            self.group.rmdir()


def monotonic(event):
    """The time of an event by time.monotonic()."""
    return time.monotonic() - (boot_ns() - event["time_ns"]) / 1e9


def play(make, options):
    try:
        os.nice(NICE)
        # Kernels that group processes by session weigh the session first.
        with contextlib.suppress(FileNotFoundError):
            pathlib.Path("/proc/self/autogroup").write_text(str(NICE))
    except OSError as error:
        raise Failed(f"the test cannot come before other processes (as root?): {error}") from None
    vm = make("debian")
    vm.timeout_ms = max(vm.timeout_ms, TIMEOUT_MS)
    owner = vm.run()
    client = client_of(vm)
    slow = vm.protect(owner, vm.waits())
    where = ["-h", "127.0.0.1", "-p", vm.port, "-U", "bench", "-c", FOR_EVER, "bench"]
    busy = machines.start(vm.stack, ["psql", *where])
    paced = Paced(vm.stack, vm.port, vm.directory, "postgres", EVERY_S)
    at_full_speed = time.monotonic()
    time.sleep(5)
    held, begin = Held(vm.stack, slow.pid), time.monotonic()
    lost = until("the slow backup is dropped", lambda: owner.events("alone"), DROPPED_S)[0]
    if lost["why"] != "slow":
        raise Failed(f"the backup is not dropped for its slowness: {lost}")
    found, at, load = owner.events("falls-behind")[0], monotonic(lost), os.getloadavg()
    options.tell(f"dropped after {at - begin:.1f} s: {found}")
    percent, seconds = reason_of(vm, owner)
    client.check()
    slow.child.wait(30)
    held.end()
    time.sleep(AFTER_S)
    other = vm.protect(owner, vm.waits())
    client.check()
    again = time.monotonic()
    time.sleep(5)
    never_stood(owner)
    if not paced.is_there() or busy.poll() is not None:
        raise Failed("a connection to the database has ended")
    figures = {
        "dropped_s": round(at - begin, 1),
        "of_its_speed_percent": percent,
        "for_s": seconds,
        "arbiter_ms": round((lost["time_ns"] - found["time_ns"]) / 1e6, 1),
        "protected_again_s": round(again - at, 1),
        "load_average": [round(one, 1) for one in load],
        "client": {
            name: told(paced, *window)
            for name, window in {
                "at_full_speed": (at_full_speed, begin),
                "slowed_down": (begin + 5, at - BEFORE_S),
                "at_the_drop": (monotonic(found) - BEFORE_S, at + AFTER_S),
                "protected_again": (again, time.monotonic()),
            }.items()
        },
    }
    # The other host's process is as good as any backup.
    owner.kill()
    until("go-live", lambda: other.events("go-live"))
    client.goes_on()
    seen = client.finish()
    return {**figures, "seen": seen, "end": vm.guest.switch_off(vm, other), **vm.check()}


def told(paced, begin, end):
    """How long the client waited in a window, and how long it usually does in one as long as the drop."""
    gaps = {word: value for word, value in paced.gaps(begin, end).items() if word != "gap_at_s"}
    return {**gaps, "usual_gap_ms": round(usual_gap(paced, begin, end), 2)}


def usual_gap(paced, begin, end):
    """The longest time between two answers, in ms, in the median of stretches as long as the drop."""
    length = BEFORE_S + AFTER_S
    starts = [begin + length * number for number in range(int((end - begin) / length))]
    gaps = [paced.gaps(start, start + length)["gap_ms"] for start in starts]
    return statistics.median([gap for gap in gaps if gap] or [0])


def reason_of(vm, owner):
    """How slow the backup was, in percent, and for how many seconds, as `lockstep status` says."""
    status = [one for one in vm.statuses() if one["pid"] == owner.pid]
    protection = status[0]["protection"] if status else {}
    reasons = [one["sentence"] for one in protection.get("reasons", []) if one["code"] == "backup-lost"]
    told = REASON.fullmatch(reasons[0]) if len(reasons) == 1 else None
    if protection.get("state") != "needs-backup" or not told:
        raise Failed(f"`lockstep status` does not say why the VM has no backup: {status}")
    return int(told[1]), int(told[2])


def never_stood(owner):
    """Fails if the owner has ever asked the arbiter with its guest standing."""
    roles = [event["role"] for event in owner.events("role")]
    if roles != ["solo", "primary", "solo", "primary"] or owner.events("suspected"):
        raise Failed(f"the owner was {roles}, and suspected {owner.events('suspected')}")
