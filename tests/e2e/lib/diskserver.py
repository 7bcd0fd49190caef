"""A disk server with one disk, which can be killed and is started again.

    with DiskServer(directory, disk, vm="shop", program=LOCKSTEP) as server:
        server.place                  "lockstep://127.0.0.1:PORT/vda"
        server.arbiter                the same server as an arbiter, for `--arbiter`
        server.kill()                 SIGKILL, and nothing else
        server.start()
        with server.killed_every(2):  SIGKILL every two seconds, each time started again at once
"""

import contextlib
import pathlib
import signal
import socket
import subprocess
import threading


def free_port():
    """A TCP port of this host that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class DiskServer:
    """The server, with its state and its configuration in a directory of its own."""

    def __init__(self, directory, disk, vm, program, key=None):
        self.directory = pathlib.Path(directory) / "disk-server"
        self.directory.mkdir()
        self.program, self.key = program, key
        self.listen, self.nbd = free_port(), free_port()
        self.place = f"lockstep://127.0.0.1:{self.listen}/vda"
        self.arbiter = f"lockstep://127.0.0.1:{self.listen},{f'key={key}' if key else 'insecure'}"
        self.stock = f"nbd://127.0.0.1:{self.nbd}/vda"
        self.process, self.kills = None, 0
        security = f'key = "{key}"' if key else "insecure = true"
        self.config = self.directory / "disks.toml"
        self.config.write_text(
            f'listen = "127.0.0.1:{self.listen}"\n{security}\nnbd = "127.0.0.1:{self.nbd}"\n'
            f'state = "state"\n[[export]]\nname = "vda"\nvm = "{vm}"\npath = "{disk}"\n'
        )
        subprocess.run([program, "disk-server", self.config, "--init"], check=True, capture_output=True)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.kill()

    def start(self):
        """Starts it, and waits until it listens."""
        errors = open(self.directory / "errors", "a")
        self.process = subprocess.Popen(
            [self.program, "disk-server", self.config, "--json"],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        errors.close()
        if not self.process.stdout.readline():
            raise RuntimeError(f"the disk server ended: {(self.directory / 'errors').read_text()}")

    def kill(self):
        """Kills it, as if its host's power had gone but for the page cache."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()
        self.kills += 1

    @contextlib.contextmanager
    def killed_every(self, seconds):
        """Kills it again and again, and starts it at once each time."""
        over = threading.Event()

        def again():
            while not over.wait(seconds):
                self.kill()
                self.start()

        thread = threading.Thread(target=again)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    @contextlib.contextmanager
    def away(self, seconds):
        """Kills it, and starts it after a while."""
        self.kill()
        threading.Event().wait(seconds)
        self.start()
        yield
