#!/usr/bin/env python3
"""Attackers, neighbours and networks as they are, on hosts in network namespaces: what must hold all the
same.

tests/e2e/hostile.py [NAME ..] [--runs N] [--lockstep PATH] [--seed S] [--minutes M] [--keep] [--json];
`--list` tells the scenarios. Needs root, `ip`, `nft`, and a release build of lockstep. Each scenario starts a
gateway, a backup and a primary with Redis in the guest, each on a host of its own, does something to them,
and looks from outside: a client keeps a ledger of what was acknowledged. A line each, and the exit code 0
only if all passed.
"""

import resource
import sys

import hostile_networks
import hostile_operator
import hostile_strangers
from lib.namespaces import require
from lib.report import Scenarios, arguments, play_all

SCENARIOS = Scenarios(hostile_strangers.SCENARIOS | hostile_operator.SCENARIOS | hostile_networks.SCENARIOS)


def main():
    options = arguments(__doc__.split("\n\n")[0]).parse_args()
    if not options.list:
        require()
    # A crowd of clients is a crowd of sockets.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    try:
        return play_all(SCENARIOS, options)
    except KeyboardInterrupt:
        # Everything that was started has been ended on the way here.
        return 130


sys.exit(main())
