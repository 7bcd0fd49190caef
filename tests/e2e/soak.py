#!/usr/bin/env python3
"""Failovers one after the other, for hours, with nobody watching: hosts of a site die at random, and nothing
that a client was told may be lost.

tests/e2e/soak.py [--failovers N] [--vms N] [--seed S] [--json]. Needs a release build of lockstep. Three
agents on loopback addresses are three hosts; a host's death is SIGKILL to its agent and to every process that
the agent has started, at once. The guests are appliances with Redis behind one gateway. One client for each
VM counts in it (INCR) on one connection that is never made again: each answer must be the one before and one
more, so that a write that was lost or done twice is seen at once.

A round: wait until every VM is protected, kill a host that runs at least one of them, wait until every VM is
protected on the two hosts that are left, start the dead host's agent again. Sampled after each round are
memory and descriptors of the agents that live, of the gateway and of the VMs' processes. Ctrl-C ends it after
the round, with the figures so far; several runs may be added up. Exit code 1 and one sentence at the first
fault.
"""

import argparse
import contextlib
import json
import os
import pathlib
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "bench"))
from machines import LOCKSTEP, Failed, image  # noqa: E402

HOSTS = ["a", "b", "c"]
MEMORY = "256M"
PATIENCE = 180


class Client(threading.Thread):
    """Counts in a VM on one connection, until it is told to end."""

    def __init__(self, port, name):
        super().__init__(daemon=True)
        self.name, self.count, self.gap, self.fault = name, 0, 0.0, None
        self.ends = threading.Event()
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.settimeout(PATIENCE)

    def run(self):
        try:
            while not self.ends.is_set():
                began = time.monotonic()
                self.ask()
                self.gap = max(self.gap, time.monotonic() - began)
        except (OSError, ValueError) as error:
            self.fault = f"the client of {self.name} after {self.count} answers: {error}"

    def ask(self):
        self.socket.sendall(b"*2\r\n$4\r\nINCR\r\n$5\r\ncount\r\n")
        answer = b""
        while not answer.endswith(b"\r\n"):
            part = self.socket.recv(64)
            if not part:
                raise OSError("the connection was closed")
            answer += part
        if not answer.startswith(b":") or int(answer[1:]) != self.count + 1:
            raise ValueError(f"it was told {answer!r}")
        self.count += 1


class Site:
    """Three hosts, a gateway, and the VMs."""

    def __init__(self, home, names, stack):
        self.home, self.names, self.agents = home, names, {}
        (home / "shared").mkdir()
        for number, host in enumerate(HOSTS):
            (home / host).mkdir()
            if number:
                key = (home / "a/site.key").read_bytes()
                target = home / host / "site.key"
                target.touch(mode=0o600)
                target.write_bytes(key)
            self.call(None, "agent", "init", "--host", host, "--address", f"127.0.51.{number + 1}",
                      "--shared", home / "shared", "--config", home / host / "agent.toml",
                      "--state-dir", home / host / "state", "--run-dir", home / host / "run")
        self.gateway = self.begin_gateway(stack)
        stack.callback(self.end)
        for host in HOSTS:
            self.begin(host)

    def call(self, host, *words):
        """What a command prints, given at a host; it must succeed."""
        environment = dict(os.environ, LC_ALL="C")
        if host:
            environment["LOCKSTEP_HOST"] = f"unix:{self.home / host / 'run/lockstep/agent.sock'}"
        said = subprocess.run([LOCKSTEP, *words], env=environment, capture_output=True, text=True)
        if said.returncode != 0:
            text = " ".join((said.stdout + said.stderr).split())
            raise Failed(f"`{' '.join(map(str, words))}` at {host}: exit {said.returncode}: {text}")
        return said.stdout

    def begin_gateway(self, stack):
        words = [LOCKSTEP, "gateway", "--listen", self.home / "gateway.sock"]
        for name in self.names:
            words += ["--forward", f"127.0.0.1:0-{name}:6379"]
        gateway = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        stack.callback(gateway.kill)
        self.ports = [int(forward.rsplit(":", 1)[1]) for forward in
                      json.loads(gateway.stdout.readline())["forwards"]]
        return gateway

    def begin(self, host):
        """Starts a host's agent; what it starts ends with it."""
        trial = self.home / host / "trial"
        trial.mkdir(exist_ok=True)
        errors = open(self.home / host / "agent.log", "a")
        self.agents[host] = subprocess.Popen(
            [LOCKSTEP, "agent", "run", "--config", self.home / host / "agent.toml", "--trial", trial,
             "--ends-with", str(os.getpid())], stdout=errors, stderr=errors)

    def pids(self, host):
        """Processes of VMs on a host: those that use its key."""
        key = str(self.home / host / "site.key").encode()
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and key in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
        return found

    def dies(self, host):
        """Everything of a host dies at once."""
        pids = [*self.pids(host), self.agents[host].pid]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.agents.pop(host).wait()

    def end(self):
        for host in list(self.agents):
            self.dies(host)

    def vms(self, host):
        """How the VMs are, as a host's agent sees them."""
        environment = dict(os.environ, LC_ALL="C",
                           LOCKSTEP_HOST=f"unix:{self.home / host / 'run/lockstep/agent.sock'}")
        said = subprocess.run([LOCKSTEP, "status", "--json"], env=environment, capture_output=True, text=True)
        return [json.loads(line) for line in said.stdout.splitlines()]

    def await_protected(self, hosts, clients):
        """Waits until each VM is protected by two of these hosts; gives the VMs."""
        began = time.monotonic()
        while True:
            check(clients)
            vms = self.vms(hosts[0])
            if len(vms) == len(self.names) and all(is_protected(vm, hosts) for vm in vms):
                return vms
            if time.monotonic() - began > PATIENCE:
                raise Failed(f"not protected again after {PATIENCE} s: {describe(vms)}")
            time.sleep(0.1)


def is_protected(vm, hosts):
    sides = [(vm[side] or {}).get("host") for side in ("primary", "backup")]
    return vm["protection"]["state"] == "protected" and all(side in hosts for side in sides)


def describe(vms):
    return "; ".join(f"{vm['name']} is {vm['protection']['state']}: "
                     + ", ".join(reason["sentence"] for reason in vm["protection"]["reasons"]) for vm in vms)


def check(clients):
    for client in clients:
        if client.fault:
            raise Failed(client.fault)


def sample(site):
    """Memory in KiB and descriptors of the agents, the gateway and the VMs' processes."""
    groups = {"agents": [agent.pid for agent in site.agents.values()], "gateway": [site.gateway.pid],
              "vms": [pid for host in site.agents for pid in site.pids(host)
                      if pid != site.agents[host].pid]}
    figures = {}
    for group, pids in groups.items():
        memory, files = [], []
        for pid in pids:
            with contextlib.suppress(OSError, StopIteration, ValueError):
                status = pathlib.Path(f"/proc/{pid}/status").read_text()
                memory.append(int(next(line.split()[1] for line in status.splitlines()
                                       if line.startswith("VmRSS"))))
                files.append(len(os.listdir(f"/proc/{pid}/fd")))
        figures[group] = {"memory_kib": max(memory, default=0), "descriptors": max(files, default=0)}
    return figures


def start(site):
    """Creates and starts the VMs, one on each host in turn, and gives a client for each."""
    made = image("appliance")
    for number, name in enumerate(site.names):
        lines = [f'name = "{name}"', f'memory = "{MEMORY}"', f'net = "gateway={site.home / "gateway.sock"}"']
        lines += [f'{part} = "{made[part]}"' for part in ("kernel", "initrd", "firmware", "append")]
        file = site.home / f"{name}.toml"
        file.write_text("\n".join(lines) + "\n")
        site.call("a", "create", file)
        site.call("a", "start", name, "--on", HOSTS[number % len(HOSTS)])
    site.await_protected(HOSTS, [])
    clients = []
    for port, name in zip(site.ports, site.names):
        clients.append(connect(port, name))
    for client in clients:
        client.start()
    return clients


def connect(port, name):
    """A client of a VM whose Redis answers."""
    began = time.monotonic()
    while True:
        client = Client(port, name)
        try:
            client.ask()
            return client
        except (OSError, ValueError) as error:
            client.socket.close()
            if time.monotonic() - began > PATIENCE:
                raise Failed(f"Redis of {name} does not answer: {error}") from error
            time.sleep(0.5)


def soak(site, clients, options):
    """Kills hosts until so many failovers have been seen; gives the figures."""
    chance, failovers, again, samples = random.Random(options.seed), 0, [], []
    stopped = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: stopped.set())
    while failovers < options.failovers and not stopped.is_set():
        vms = site.await_protected(HOSTS, clients)
        victims = sorted({vm["primary"]["host"] for vm in vms})
        victim = chance.choice(victims)
        hit = sum(vm["primary"]["host"] == victim for vm in vms)
        time.sleep(chance.uniform(0.2, 1.0))
        left = [host for host in HOSTS if host != victim]
        began = time.monotonic()
        site.dies(victim)
        site.await_protected(left, clients)
        again.append(time.monotonic() - began)
        failovers += hit
        samples.append(sample(site))
        site.begin(victim)
        print(f"soak: {failovers} failovers, protected again after {again[-1]:.1f} s", file=sys.stderr)
    return {"failovers": failovers, "rounds": len(again),
            "protected_again_s": {"median": round(statistics.median(again), 2), "most": round(max(again), 2)},
            "answers": sum(client.count for client in clients), "lost": 0,
            "longest_gap_ms": round(max(client.gap for client in clients) * 1e3),
            "first": samples[0], "last": samples[-1]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--failovers", type=int, default=100)
    parser.add_argument("--vms", type=int, default=3)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        home = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lockstep-soak-")))
        site = Site(home, [f"vm{number + 1}" for number in range(options.vms)], stack)
        clients = start(site)
        figures = soak(site, clients, options)
        for client in clients:
            client.ends.set()
            client.join()
        check(clients)
    figures["seed"] = options.seed
    if options.json:
        print(json.dumps(figures))
    else:
        print(f"soak: {figures['failovers']} failovers in {figures['rounds']} deaths of hosts, "
              f"{figures['answers']} answers, each as it must be; {json.dumps(figures)}")


if __name__ == "__main__":
    main()
