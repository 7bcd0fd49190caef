"""`life.py twice`: whoever starts the VM once more while it lives is refused, whatever host that is, with a
disk or without, and at whatever moment of a failover.

Starts come from two places. *Elsewhere* is another host as far as the program can see: namespaces of its own
for network, processes, mounts and host name, and another boot. *Beside* is this host with another runtime
directory; there a start that finds the owner dead waits ten seconds for a backup, and is refused when there
was one. Each start must end with exit code 4 and the sentence that says who runs the VM.
"""

import itertools
import os
import re
import subprocess
import threading
import time

from .halves import machines
from .lives import NAME, PATIENCE_S, Failed, until
from .load import client_of

REFUSED = re.compile(
    rf"{NAME} runs as epoch (\d+) on host \S+ \(pid (\d+), since [^)]+\); stop it there, or, if that host is "
    rf"surely off, `lockstep release {NAME} --epoch \1 --arbiter [^`]+`"
)
REFUSED_CODE = 4
PLACES = ["elsewhere", "beside"]
# From one start from each place to the next; and how many are begun just before and just after a death.
EVERY_S, AT_DEATH = 0.3, 2
BEFORE_S, AFTER_S = 0.5, 1.0

# The command is put behind; the first word is the file that names the other boot.
ELSEWHERE = """
hostname elsewhere && mount --bind "$1" /proc/sys/kernel/random/boot_id && shift && exec "$@"
"""


class Starts:
    """Starts of the VM from both places, one after the other as long as it is wanted."""

    def __init__(self, vm):
        self.vm, self.done, self.stopping = vm, [], threading.Event()
        self.numbers = itertools.count(1)
        (vm.directory / "boot").write_text("5eed5eed-0000-4000-8000-000000000000\n")
        self.runtime = vm.directory / "beside"
        self.runtime.mkdir(mode=0o700)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def command(self, place):
        command = [machines.LOCKSTEP, "run", *self.vm.flags, "--serial", "none"]
        if place == "beside":
            return command
        namespaces = ["unshare", "--net", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
        if os.geteuid() != 0:
            namespaces.append("--map-root-user")
        return [*namespaces, "sh", "-c", ELSEWHERE, "sh", self.vm.directory / "boot", *command]

    def run(self):
        while not self.stopping.wait(EVERY_S):
            self.start(1)

    def start(self, count):
        """So many starts from each place."""
        for place in PLACES * count:
            errors = open(self.vm.directory / f"start{next(self.numbers)}.{place}", "w+")
            began = time.time()
            process = machines.start(
                self.vm.stack, self.command(place), stderr=errors, env=self.vm.env(self.runtime)
            )
            self.done.append((place, began, process, errors))

    def end(self):
        """No more starts. Waits for the end of all, and fails unless each was refused; when each began."""
        self.stopping.set()
        self.thread.join()
        own = {str(process.pid) for process in self.vm.processes}
        for place, _, process, errors in self.done:
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                raise Failed(f"a start {place} is not refused after {PATIENCE_S} s") from None
            errors.seek(0)
            text = errors.read()
            errors.close()
            sentence = REFUSED.search(" ".join(text.split()))
            if process.returncode != REFUSED_CODE or not sentence or sentence[2] not in own:
                raise Failed(f"a start {place} ends with {process.returncode}: {text}")
        return [(place, began) for place, began, _, _ in self.done]


def play(make, options):
    guests = [options.guest] if options.guest else ["debian", "appliance"]
    result = {}
    for guest in guests:
        vm = make(guest)
        what = "with a disk" if vm.guest.disk else "without a disk"
        result[what] = one(vm, options)
        options.tell(f"{what}: {result[what]}")
    return result


def one(vm, options):
    """Failovers of one VM, while it is started all the time."""
    owner = vm.run()
    client = client_of(vm)
    spans = []
    starts = None
    for number in range(options.failovers):
        # Every second death is found out by the timeout alone: a failover takes longer then.
        copy = vm.protect(owner, vm.waits(*["--timeout-only"] * (number % 2)))
        starts = starts or Starts(vm)
        client.check()
        time.sleep(BEFORE_S)
        starts.start(AT_DEATH)
        killed = time.time()
        owner.kill()
        starts.start(AT_DEATH)
        live = until("go-live", lambda: copy.events("go-live"))[-1]
        spans.append((killed, time.time(), round(live["after_ms"], 1)))
        time.sleep(AFTER_S)
        owner = copy
    client.goes_on()
    begun = starts.end()
    end = time.time()
    seen = client.finish()
    during = [at for _, at in begun if any(killed - 0.05 <= at <= live for killed, live, _ in spans)]
    return {
        "failovers": len(spans),
        "go_live_ms": [after for _, _, after in spans],
        "refused": {place: sum(place == where for where, _ in begun) for place in PLACES},
        "begun_during_a_failover": len(during),
        "answers": len(client.answers),
        "longest_client_gap_ms": client.longest_gap_ms(0, end),
        "seen": seen,
        "end": vm.guest.switch_off(vm, owner),
        **vm.check(),
    }
