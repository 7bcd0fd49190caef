"""The mode `move` of life.py: the backup of a VM is replaced again and again, and the VM has one all the
time.

Each time a fresh process waits as on another host, `lockstep move-backup` has it take the place of the
backup, and the old one must end as dismissed. At every third move the old backup stands still (SIGSTOP)
while its successor is copied: the arbiter excludes it, and the move goes on. In the end the owner is
killed, and the backup of the last move takes over.
"""

import contextlib
import signal
import time

from .lives import NAME, Failed, boot_ns, until
from .load import client_of

# Of so many moves one is made beside a backup that stands still.
STILL_EVERY = 3


def move_once(vm, owner, old, still):
    """The backup `old` is replaced; the new one, and how long that took in ms."""
    new = vm.waits()
    began, from_ns = time.time(), boot_ns()
    vm.tell("move-backup", NAME, "--to", new.address, "--no-wait")
    if still:
        until("the copying has begun", lambda: vm.told(owner, "cloning", new))
        old.child.send_signal(signal.SIGSTOP)
    until("the new one knows that it is the backup", lambda: new.has_been("backup"))
    until(
        "the old one is none any more",
        lambda: vm.told(owner, "dismissed", old) or vm.told(owner, "alone", old),
    )
    if still:
        # What it reads then is that it is none any more.
        old.child.send_signal(signal.SIGCONT)
    until("the old one has ended", lambda: old.child.poll() is not None)
    told = [event for event in owner.events() if event["time_ns"] >= from_ns]
    by = [event["replaced_by"] for event in told if event["event"] == "dismissed"]
    alone = [event for event in told if event["event"] in ("suspected", "alone")]
    if not still and (by != [new.address] or alone):
        raise Failed(f"the old backup went in another way: {by} {alone}")
    return new, (began, time.time())


def play(vm, options):
    """Moves in a row; figures."""
    owner = vm.run()
    client = client_of(vm)
    copy = vm.protect(owner, vm.waits())
    client.check()
    spans = []
    for number in range(options.moments):
        still = number % STILL_EVERY == STILL_EVERY - 1
        copy, span = move_once(vm, owner, copy, still)
        spans.append((*span, still))
        client.check()
    owner.kill()
    until("go-live", lambda: copy.events("go-live"))
    client.goes_on()
    seen = client.finish()
    lives = []
    for begin, end, still in spans:
        lives.append(
            {
                "moved_ms": round((end - begin) * 1e3, 1),
                "longest_client_gap_ms": 0 if still else client.longest_gap_ms(begin, end),
                "gap_beside_a_still_backup_ms": client.longest_gap_ms(begin, end) if still else 0,
            }
        )
    with contextlib.suppress(IndexError):
        options.tell(f"moves: {lives[0]}, ..")
    return {
        "moves": len(lives),
        "beside_a_still_backup": sum(still for *_, still in spans),
        "answers": len(client.answers),
        "seen": seen,
        "lives": lives,
        "end": vm.guest.switch_off(vm, copy),
        **vm.check(),
    }
