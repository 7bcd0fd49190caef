#!/usr/bin/env python3
"""A guest lives through one failover after another on one connection of a client, and is protected again
after each, while it runs.

tests/e2e/life.py [--failovers N] [--lockstep FILE] [--json]. Needs a release build of lockstep and no root.
The guest is the appliance's Redis; hosts are processes on this one. Each life goes like this:

    1. `lockstep backup --listen` waits, as on a fresh host that has nothing of the VM.
    2. `lockstep protect` has the running guest copied there, while the client counts (INCR) without a pause.
    3. The process in which the guest lives is killed (SIGKILL). The copy goes on.

The client's only connection must live through all of it, each answer must be the number that is due, and
`lockstep status` must call the VM protected. Told are, for each life: how long protecting took, for how long
the guest stood at the cut, the longest gap between two answers meanwhile, and the pause of the failover.
"""

import argparse
import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
LOCKSTEP = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release/lockstep"
NAME, REDIS = "shop", 6379
PATIENCE_S = 120


class Failed(Exception):
    """The thing under test did not do what it should."""


def free_port():
    """A port of the loopback on which nobody listens just now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def until(what, done):
    """Waits until `done` gives something, and gives it."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if found := done():
            return found
        time.sleep(0.01)
    raise Failed(f"never: {what}")


class Counter(threading.Thread):
    """The only client: counts on one connection, and remembers when each answer came."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.answers, self.trouble, self.stopping = [], None, False
        self.link = until("an answer of the guest", lambda: self.connect(port))
        self.link.settimeout(PATIENCE_S)

    @staticmethod
    def connect(port):
        """A connection over which Redis has answered; `None`: it does not yet."""
        with contextlib.suppress(OSError):
            link = socket.create_connection(("127.0.0.1", port), timeout=20)
            link.sendall(b"PING\r\n")
            if link.recv(100) == b"+PONG\r\n":
                return link
            link.close()
        return None

    def run(self):
        try:
            while not self.stopping and self.trouble is None:
                self.count()
        except OSError as error:
            self.trouble = f"the connection broke: {error}"

    def count(self):
        """One number."""
        self.link.sendall(b"INCR life\r\n")
        answer = b""
        while not answer.endswith(b"\r\n"):
            more = self.link.recv(100)
            if not more:
                self.trouble = "the connection was closed"
                return
            answer += more
        self.answers.append(time.monotonic())
        if answer != b":%d\r\n" % len(self.answers):
            self.trouble = f"answer {len(self.answers)} is {answer!r}"

    def longest_gap_ms(self, begin, end=None):
        """Between two answers, the later of which came after `begin` and the earlier before `end`."""
        answers = list(self.answers)
        pairs = zip(answers, answers[1:])
        gaps = [late - early for early, late in pairs if late > begin and (end is None or early < end)]
        return round(max(gaps, default=0) * 1e3, 1)

    def goes_on(self):
        """Waits for some more answers; fails if there is trouble."""
        goal = len(self.answers) + 20
        until("more answers", lambda: self.trouble or len(self.answers) >= goal)
        if self.trouble:
            raise Failed(self.trouble)


class Site:
    """A directory with an arbiter, a key and a VM.toml, the gateway, and the processes of the VM's lives."""

    def __init__(self, lockstep, directory, stack):
        self.lockstep, self.directory, self.stack = lockstep, directory, stack
        (directory / "arbiter").mkdir()
        key = directory / "key"
        key.touch(0o600)
        key.write_text("5a" * 32)
        self.redis, gateway = free_port(), free_port()
        lines = subprocess.run(
            [lockstep, "image", "appliance"], stdout=subprocess.PIPE, text=True, check=True
        ).stdout
        settings = {
            "name": NAME,
            "net": f"gateway=127.0.0.1:{gateway}",
            "arbiter": str(directory / "arbiter"),
            "key": str(key),
            "serial": "none",
        }
        known = {line.split("=")[0].strip() for line in lines.splitlines()}
        more = [f'{word} = "{value}"\n' for word, value in settings.items() if word not in known]
        (directory / "vm.toml").write_text(lines + "".join(more))
        self.start(
            "gateway", "gateway", "--listen", f"127.0.0.1:{gateway}", "--key", str(key),
            "--forward", f"127.0.0.1:{self.redis}-:{REDIS}", "--ends-with", str(os.getpid()),
        )  # fmt: skip

    def start(self, name, *words):
        """A process of lockstep, which is killed at the end of all at the latest."""
        errors = open(self.directory / f"{name}.stderr", "wb")
        process = subprocess.Popen(
            [self.lockstep, *words], stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, env=self.env()
        )
        self.stack.callback(process.wait)
        self.stack.callback(process.kill)
        return process

    def env(self):
        """The environment: sockets and locks are this test's own."""
        return {**os.environ, "XDG_RUNTIME_DIR": str(self.directory)}

    def events(self, name, kind):
        """The events of a kind in a process's file."""
        path = self.directory / f"{name}.events"
        lines = path.read_text().splitlines() if path.exists() else []
        found = []
        for line in lines:
            with contextlib.suppress(ValueError):
                event = json.loads(line)
                found += [event] if event["event"] == kind else []
        return found

    def said(self, name):
        """What a process has written to its standard error."""
        return (self.directory / f"{name}.stderr").read_text(errors="replace")

    def tell(self, *words):
        """A command that must succeed; what it prints."""
        done = subprocess.run([self.lockstep, *words], capture_output=True, text=True, env=self.env())
        if done.returncode != 0:
            raise Failed(f"lockstep {' '.join(words)} ends with {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def states(self):
        """How the VM's processes say that its protection stands."""
        words = [self.lockstep, "status", NAME, "--json"]
        text = subprocess.run(words, stdout=subprocess.PIPE, text=True, env=self.env()).stdout
        return [json.loads(line)["protection"]["state"] for line in text.splitlines()]


def live_once(site, number, process, client):
    """One life: the guest in `process` is protected, and that killed; gives the next process and figures."""
    port, (old, new) = free_port(), (f"life{number}", f"life{number + 1}")
    events = str(site.directory / f"{new}.events")
    backup = site.start(
        new, "backup", "--listen", f"127.0.0.1:{port}", "--key", str(site.directory / "key"),
        "--serial", "none", "--events", events,
    )  # fmt: skip
    until("it listens", lambda: "waiting" in site.said(new))
    began = time.monotonic()
    site.tell("protect", NAME, "--to", f"127.0.0.1:{port}")
    protected_at = time.monotonic()
    # The copy hears a message later than its owner that it is the backup.
    until("both processes say that they are protected", lambda: site.states() == ["protected"] * 2)
    client.goes_on()
    told = site.events(old, "protected")[-1]
    killed_at = time.monotonic()
    process.kill()
    process.wait()
    live = until("go-live", lambda: site.events(new, "go-live"))[-1]
    client.goes_on()
    return backup, {
        "unprotected_ms": round(told["took_ms"], 1),
        "clone_bytes": told["bytes"],
        "clone_cut_us": round(told["cut_us"], 1),
        "clone_longest_client_gap_ms": client.longest_gap_ms(began, protected_at),
        "go_live_ms": round(live["after_ms"], 1),
        "client_pause_ms": client.longest_gap_ms(killed_at),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--failovers", type=int, default=5)
    parser.add_argument("--lockstep", type=pathlib.Path, default=LOCKSTEP)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with contextlib.ExitStack() as stack:
        directory = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lockstep-life-")))
        site = Site(args.lockstep.resolve(), directory, stack)
        toml, events = str(directory / "vm.toml"), str(directory / "life0.events")
        process = site.start("life0", "run", toml, "--events", events)
        lives = []
        try:
            client = Counter(site.redis)
            client.start()
            for number in range(args.failovers):
                process, figures = live_once(site, number, process, client)
                lives.append(figures)
                if not args.json:
                    print(f"life {number + 1}: {figures}", flush=True)
        except (Failed, IndexError) as error:
            last = f"life{len(lives)}"
            print(f"FAILED: {error}\n{last}: {site.said(last)}", file=sys.stderr)
            sys.exit(1)
        client.stopping = True
        client.join(PATIENCE_S)
        result = {"failovers": len(lives), "answers": len(client.answers), "lives": lives}
        print(json.dumps(result) if args.json else f"PASSED: {len(client.answers)} answers on one connection")


if __name__ == "__main__":
    main()
