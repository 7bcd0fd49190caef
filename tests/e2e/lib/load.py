"""Clients that load a guest's service over one TCP connection, which they never open again, and know when
each answer came.

`Counter` counts in Redis, `Pgbench` makes PostgreSQL's transactions. What they have in common: `trouble` (a
sentence, or None), `goes_on()`, and after `finish()`, which raises `Failed` unless all that was answered is
there, the times of all answers.
"""

import contextlib
import os
import pathlib
import re
import signal
import socket
import threading
import time

from .halves import machines
from .lives import PATIENCE_S, Failed, until


class Client:
    """When each answer came, in seconds since 1970."""

    def __init__(self):
        self.answers, self.trouble = [], None

    def longest_gap_ms(self, begin, end):
        """Between two answers, the later of which came after `begin` and the earlier before `end`."""
        pairs = zip(self.answers, self.answers[1:])
        gaps = [late - early for early, late in pairs if late > begin and early < end]
        return round(max(gaps, default=0) * 1e3, 1)

    def answered(self, begin, end):
        """How many answers came in that time."""
        return sum(begin <= at < end for at in self.answers)

    def check(self):
        """Fails if there is trouble."""
        if self.trouble:
            raise Failed(self.trouble)


class Counter(Client):
    """Counts on one connection to Redis (INCR): each answer must be the number that is due."""

    def __init__(self, vm):
        super().__init__()
        self.stopping = False
        self.link = until("an answer of the guest", lambda: self.connect(vm.port))
        self.link.settimeout(PATIENCE_S)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

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
            self.trouble = f"after {len(self.answers)} answers the connection broke: {error}"

    def ask(self, question):
        """The line that answers."""
        self.link.sendall(question)
        answer = b""
        while not answer.endswith(b"\r\n"):
            more = self.link.recv(100)
            if not more:
                raise ConnectionError("it was closed")
            answer += more
        return answer

    def count(self):
        answer = self.ask(b"INCR life\r\n")
        self.answers.append(time.time())
        if answer != b":%d\r\n" % len(self.answers):
            self.trouble = f"answer {len(self.answers)} is {answer!r}"

    def goes_on(self):
        """Waits for some more answers."""
        goal = len(self.answers) + 20
        until("more answers", lambda: self.trouble or len(self.answers) >= goal)
        self.check()

    def finish(self):
        """Stops counting; what was seen, for people."""
        self.stopping = True
        self.thread.join(PATIENCE_S)
        self.check()
        return f"{len(self.answers)} answers, each the number that was due"

    def abandon(self):
        """Ends without a check: its VM is dead."""
        self.stopping = True
        with contextlib.suppress(OSError):
            self.link.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.link.close()


class Pgbench(Client):
    """pgbench with one client. Its log says which transactions were committed; the history table must have
    exactly these, and add up."""

    SUMS = {"history": "delta", "accounts": "abalance", "tellers": "tbalance", "branches": "bbalance"}

    def __init__(self, vm):
        super().__init__()
        self.vm = vm
        machines.wait_for_postgres(vm.port)
        filled = machines.postgres(vm.port, "pgbench", "-i", "-q", "-s", "1")
        if filled.returncode != 0:
            raise Failed(f"pgbench has not filled its tables: {filled.stderr}")
        self.directory = vm.directory / "pgbench"
        self.directory.mkdir()
        self.errors = self.directory / "errors"
        # Its time is over when it gets SIGALRM.
        words = f"pgbench -h 127.0.0.1 -p {vm.port} -U bench -n -c 1 -T 86400 -P 1 -l bench"
        with open(self.directory / "output", "w") as output, open(self.errors, "w") as errors:
            self.process = machines.start(
                vm.stack, words.split(), cwd=self.directory, stdout=output, stderr=errors
            )
        self.goes_on()
        self.connection = self.connections()

    def connections(self):
        """This host's ports of its connections to the database, as the kernel tells them."""
        descriptors = pathlib.Path(f"/proc/{self.process.pid}/fd")
        sockets = set()
        for one in descriptors.iterdir():
            with contextlib.suppress(OSError):
                sockets |= set(re.findall(r"socket:\[(\d+)\]", os.readlink(one)))
        lines = [line.split() for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]]
        here = {int(words[1].split(":")[1], 16) for words in lines if words[9] in sockets}
        return here

    def check(self):
        if self.process.poll() is not None:
            self.trouble = f"pgbench has ended with {self.process.returncode}: {self.errors.read_text()}"
        elif self.connections() != self.connection:
            self.trouble = f"pgbench had the connection {self.connection}, now it has {self.connections()}"
        super().check()

    def goes_on(self):
        """Waits until a whole second with transactions has passed."""
        seen = len(self.reports())
        until("more transactions", lambda: self.process.poll() is not None or any(self.reports()[seen + 1 :]))
        if self.process.poll() is not None:
            self.check()

    def reports(self):
        """What pgbench says each second: transactions in a second."""
        return [float(tps) for tps in re.findall(r"progress: \S+ s, (\S+) tps", self.errors.read_text())]

    def finish(self):
        self.check()
        self.process.send_signal(signal.SIGALRM)
        self.process.wait(PATIENCE_S)
        output = (self.directory / "output").read_text()
        if self.process.returncode != 0 or "failed transactions: 0 " not in output:
            said = output + self.errors.read_text()
            raise Failed(f"pgbench has ended with {self.process.returncode}: {said}")
        (log,) = self.directory.glob("pgbench_log.*")
        lines = [line.split() for line in log.read_text().splitlines()]
        self.answers = [int(words[4]) + int(words[5]) / 1e6 for words in lines]
        history = int(self.query("select count(*) from pgbench_history"))
        if not history == len(lines) > 0:
            raise Failed(f"{len(lines)} transactions were committed, and {history} are in the history table")
        sums = {
            self.query(f"select coalesce(sum({column}), 0) from pgbench_{table}")
            for table, column in self.SUMS.items()
        }
        if len(sums) != 1:
            raise Failed(f"history, accounts, tellers and branches add up to {sums}")
        return f"{history} transactions, all of them in the history table, which adds up to {sums.pop()}"

    def query(self, text):
        done = machines.postgres(self.vm.port, "psql", "-At", "-c", text)
        if done.returncode != 0:
            raise Failed(f"the database does not answer: {done.stderr}")
        return done.stdout.strip()

    def abandon(self):
        """Ends without a check."""
        self.process.kill()
        self.process.wait()


def client_of(vm):
    """The client that fits the VM's service, once it is served."""
    return {5432: Pgbench, 6379: Counter}[vm.guest.service](vm)
