#!/usr/bin/env python3
"""A site of three hosts with an agent each, in network namespaces with bridges and taps: hosts, agents, the
store and the network fail, and the VM must be protected again without anybody's help.

tests/e2e/cluster.py [NAME ..] [--runs N] [--lockstep PATH] [--seed S] [--minutes M] [--keep] [--json];
`--list` tells the scenarios. Needs root, `ip`, `nft`, Debian's `etcd-server` for the scenarios with etcd, and
a release build of lockstep. Without root, or with --loopback, hosts are addresses of loopback, and scenarios
that need a network of their own are left out. A line for each scenario, and the exit code 0 only if all
passed.
"""

import os

import cluster_agents
import cluster_disks
import cluster_drains
import cluster_health
import cluster_hosts
import cluster_networks
import cluster_stores
import cluster_upgrades
import cluster_wishes
from lib import halves
from lib.namespaces import require
from lib.report import Scenarios, arguments, play_all
from lib.site import Site

SCENARIOS = Scenarios(
    cluster_hosts.SCENARIOS
    | cluster_agents.SCENARIOS
    | cluster_stores.SCENARIOS
    | cluster_networks.SCENARIOS
    | cluster_health.SCENARIOS
    | cluster_drains.SCENARIOS
    | cluster_wishes.SCENARIOS
    | cluster_disks.SCENARIOS
    | cluster_upgrades.SCENARIOS
)
# One kernel's loopback cannot be cut, and knows more of dead processes than another computer would.
NETWORKED = {
    *cluster_networks.SCENARIOS,
    *cluster_health.SCENARIOS,
    *cluster_disks.SCENARIOS,
    "etcd-cut",
    "power-loss-one-stays-off",
    "storage-silent",
}


def main():
    parser = arguments(__doc__.split("\n\n")[0])
    parser.add_argument("--loopback", action="store_true", help="no namespaces; without root it is so anyway")
    parser.set_defaults(minutes=1)
    options = parser.parse_args()
    Site.is_local = options.loopback or os.geteuid() != 0
    if not options.list and not Site.is_local:
        require()
        halves.apart()
    if not Site.is_local:
        return play_all(SCENARIOS, options)
    return play_all(
        Scenarios((name, SCENARIOS[name]) for name in SCENARIOS if name not in NETWORKED), options
    )


if __name__ == "__main__":
    raise SystemExit(main())
