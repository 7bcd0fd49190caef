"""The frame of most scenarios: a pair serves a client, something is done to it, and then all that the client
was told must be true.

    with served(turn) as (pair, ledger):
        pair.primary.kill()
        goes_on(ledger, "after the death of the primary")

At the end of the block everything that was acknowledged is read back. A scenario that must look at that
earlier calls `all_there` itself, or one of the checks here that do. A frame must never hide a failure:
whatever the block raises is what the scenario fails with.
"""

import contextlib

from .pair import Failed
from .report import ensure

# Far above any failover, far below a client's patience.
GOES_ON_S = 10


def goes_on(ledger, what, writes=100, seconds=GOES_ON_S):
    """Raises `Failed` unless the client's writes go on."""
    if not ledger.wait_for(writes, seconds):
        ledger.abandon()
        raise Failed(f"{what}, a client had no {writes} more answers within {seconds} s ({ledger.story()})")


def all_there(ledger, pair):
    """Raises `Failed` unless all that was acknowledged is read back on the client's first connection, which
    ends then."""
    if sentence := ledger.verdict():
        raise Failed(f"{sentence} ({pair.story()})")


def stays_a_pair(pair, what):
    """Raises `Failed` unless the guest is still live on its first host and protected."""
    ensure(pair.protected(), f"{what}: {pair.story()}")


def taken_over_once(pair, ledger, what, seconds=GOES_ON_S):
    """The backup alone is live, the primary has halted for that reason, and nothing is lost."""
    goes_on(ledger, what, seconds=seconds)
    ensure(pair.wait_for_role(pair.backup, "solo", 5), f"{what}, the backup was to win: {pair.story()}")
    all_there(ledger, pair)
    lives = sum(
        event["role"] == "solo" for half in (pair.primary, pair.backup) for event in half.events("role")
    )
    ensure(lives == 1, f"{what}, {lives} sides went live: {pair.story()}")


@contextlib.contextmanager
def client_of(pair, what="at the start", writes=100, **options):
    """A client of a started pair that is served, for a `with` block; its ledger."""
    ledger = pair.ledger(**options)
    goes_on(ledger, what, writes=writes)
    yield ledger
    if not ledger.is_over():
        all_there(ledger, pair)


@contextlib.contextmanager
def served(turn, prepare=None, writes=100, every_s=None, **options):
    """A pair on hosts of its own that serves a client, for a `with` block; the pair and the client's ledger.

    `prepare` is called with the pair before it is started. The client must have been served `writes` times
    before the block begins; `every_s` is the ledger's. All other options are the pair's.
    """
    pace = {} if every_s is None else {"every_s": every_s}
    with turn.pair(**options) as pair:
        if prepare:
            prepare(pair)
        pair.start()
        with client_of(pair, writes=writes, **pace) as ledger:
            yield pair, ledger
