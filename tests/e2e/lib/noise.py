"""`Noise`: what a busy machine adds to each measured time. Nobody can be served faster than the machine lets
a thread run, so a bound of a scenario may be exceeded by that, within a limit, and only if it is told.

    with turn.noise() as noise:
        begin = time.monotonic()
        ...
        ensure(took <= BOUND_S + noise.allowed(begin, begin + took), figures)

What was allowed stands in the line of the run and in the summary for programs, whoever asked for it and
however the run ends (`lib/report.py`). It ends with the block, also when the scenario fails.
"""

import collections
import dataclasses
import threading
import time

# A bound is exceeded by so much at most. A machine that lets a thread wait for longer is too busy to show
# that the bound holds, and the scenario fails with the figures.
ALLOWED_MAX_S = 0.050


@dataclasses.dataclass(frozen=True)
class Allowance:
    """What a bound was exceeded by, and how long this machine has let a thread wait, in seconds."""

    allowed_s: float
    waited_s: float

    def __str__(self):
        return (
            f"{self.allowed_s * 1e3:.0f} ms were allowed on top of the bound, "
            f"since this machine let a thread wait for {self.waited_s * 1e3:.0f} ms"
        )


class Noise:
    """How late this machine lets a sleeping thread run, for a `with` block. `note` is called with each
    `Allowance`."""

    def __init__(self, note, every_s=0.002):
        self.note, self.every_s = note, every_s
        self.late = collections.deque(maxlen=1_000_000)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stopping.set()
        self._thread.join()

    def _look(self):
        while not self._stopping.is_set():
            due = time.monotonic() + self.every_s
            time.sleep(self.every_s)
            now = time.monotonic()
            self.late.append((now, now - due))

    def worst(self, begin, end):
        """The longest delay seen between two instants, in seconds."""
        return max((late for at, late in list(self.late) if begin <= at <= end + self.every_s), default=0.0)

    def allowed(self, begin, end):
        """By how much a bound on what was between two instants may be exceeded, in seconds, at most
        `ALLOWED_MAX_S`."""
        waited_s = self.worst(begin, end)
        allowance = Allowance(min(waited_s, ALLOWED_MAX_S), waited_s)
        self.note(allowance)
        return allowance.allowed_s
