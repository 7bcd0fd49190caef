"""A long cable: a process that passes Ethernet frames between two cards, each some time later.

Kernels without `netem` can delay packets no other way. It is a process of its own, so that it keeps the
interpreter's lock from nobody, and runs at a high priority where it may, so that a busy machine makes the
cable little longer.
"""

import contextlib
import gc
import heapq
import itertools
import os
import random
import select
import signal
import struct
import time
import traceback

# Frames on the way in one direction; more are lost, as in a switch whose queue is full.
FRAMES_MAX = 20_000
FRAME_LEN_MAX = 65_550


class Relay:
    """The process, started at once, with no delay."""

    def __init__(self, one, other):
        """Takes two cards that are files, not blocking, and closes them here: only the relay holds them."""
        orders, self.orders = os.pipe()
        self.process = os.fork()
        if self.process == 0:
            # Nothing of the parent may run here, its clean-up least of all.
            try:
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                # What the parent has left for its collector would close files of ours that have its numbers.
                gc.disable()
                # Whatever else is open must not live on here: another relay's orders, a listening socket.
                kept = sorted([0, 1, 2, one, other, orders])
                for first, after in zip(kept, [*kept[1:], 1 << 16]):
                    os.closerange(first + 1, after)
                carry(one, other, orders)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(0)
        for fd in (orders, one, other):
            os.close(fd)

    def delay(self, seconds, jitter=0.0):
        """Each frame that comes from now on takes so long, and up to `jitter` longer, so that frames overtake
        one another."""
        os.write(self.orders, struct.pack("dd", seconds, jitter))

    def stop(self):
        """Ends the process; the cards go with it."""
        os.close(self.orders)
        os.waitpid(self.process, 0)


def carry(one, other, orders):
    """Passes frames until nobody can give orders any more."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, -15)
    delay = jitter = 0.0
    # Heaps of (when due, number, frame): frames that are due together stay in order.
    queues, numbers = {one: [], other: []}, itertools.count()
    ways = [(one, other), (other, one)]
    poll = select.epoll()
    for fd in (one, other, orders):
        poll.register(fd, select.EPOLLIN)
    while True:
        now = time.monotonic()
        for queue_of, to in ways:
            queue = queues[queue_of]
            while queue and queue[0][0] <= now:
                # A card that is down or full loses the frame.
                frame = heapq.heappop(queue)[2]
                with contextlib.suppress(OSError):
                    os.write(to, frame)
        next_due = min((queue[0][0] for queue in queues.values() if queue), default=None)
        wait = -1 if next_due is None else max(next_due - time.monotonic(), 0)
        for fd, _ in poll.poll(wait):
            if fd == orders:
                order = os.read(orders, 16)
                if not order:
                    return
                delay, jitter = struct.unpack("dd", order)
                continue
            now, queue = time.monotonic(), queues[fd]
            with contextlib.suppress(OSError):
                for _ in range(64):
                    frame = os.read(fd, FRAME_LEN_MAX)
                    if len(queue) < FRAMES_MAX:
                        due = now + delay + (jitter and random.uniform(0, jitter))
                        heapq.heappush(queue, (due, next(numbers), frame))
